"""Functions that compare results with a baseline or with other results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labelattack.api.results import PathLike, Results, path_of, stored

if TYPE_CHECKING:
    from labelattack.benchmark.gate.check import Check, Limits
    from labelattack.benchmark.store.record import Record


def check(results: Results | PathLike, baseline: PathLike, **limits: Any) -> Check:
    """Compares results with a baseline, as ``labelattack check`` does.

    Args:
        results: Results, or the folder of a store.
        baseline: File written by ``labelattack check --update``.
        **limits: Fields of [Limits][labelattack.benchmark.gate.check.Limits]: ``alpha``,
            ``tolerance``, ``measures``, ``same_versions``.

    Returns:
        The comparisons; ``exit_code`` is 0 if nothing is worse.

    Raises:
        StoreError: If one of them cannot be read.
        ParameterError: If a limit is unknown or breaks its rule.

    Example:
        >>> import labelattack
        >>> labelattack.check("results", "baseline.json", tolerance=1.0)  # doctest: +SKIP
    """
    from labelattack.benchmark.gate.baseline import read_baseline
    from labelattack.benchmark.gate.check import check_records

    wanted = _limits(limits)
    then = read_baseline(path_of(baseline))
    return check_records(_records(results), then, wanted)


def compare(a: Results | PathLike, b: Results | PathLike, **limits: Any) -> Check:
    """Compares two results, as ``labelattack compare`` does.

    Args:
        a: Results, or the folder of a store, that serve as baseline.
        b: Results, or the folder of a store, that are compared with it.
        **limits: Fields of [Limits][labelattack.benchmark.gate.check.Limits]: ``alpha``,
            ``tolerance``, ``measures``, ``same_versions``.

    Returns:
        The comparisons; ``exit_code`` is 0 if nothing is worse in ``b``.

    Raises:
        StoreError: If one of them cannot be read or holds no finished run.
        ParameterError: If a limit is unknown or breaks its rule.

    Example:
        >>> import labelattack
        >>> labelattack.compare("results-main", "results").of("regression")  # doctest: +SKIP
    """
    from labelattack.benchmark.gate.check import compare_records

    return compare_records(_records(a), _records(b), _limits(limits))


def _limits(given: Mapping[str, Any]) -> Limits:
    from labelattack.benchmark.gate.check import Limits
    from labelattack.errors import unknown
    from labelattack.registry.parameters import validated

    for name in given:
        if name not in Limits.model_fields:
            raise unknown("limit", name, Limits.model_fields)
    found: Limits = validated(Limits, **given)
    return found


def _records(results: Results | PathLike) -> list[Record]:
    return (results if isinstance(results, Results) else stored(results)).records
