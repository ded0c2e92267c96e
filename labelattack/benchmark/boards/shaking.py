"""What changed pixels leave of a row's mAP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from labelattack.benchmark.store.measures import way_of
from labelattack.benchmark.store.record import Record
from labelattack.measures._px_outcome import Outcome
from labelattack.metrics.statistics import estimate, estimate_all

Shake = Literal["evasion", "corruption"]
SHAKES: tuple[Shake, ...] = get_args(Shake)


class Shaken(BaseModel):
    """What changed pixels leave of a row's mAP, over seeds; differences paired by seed.

    Attributes:
        map: Mean mAP on changed test images, in points.
        interval: Half-width of its 95 % Student-t interval; None for a single seed.
        clean: Mean mAP on the same images as they are, in points.
        chance: mAP of scores that tell nothing, on the same images, in points.
        kept: Mean share of what was learned that is left, (map - chance) / (clean - chance); below
            0 where an attack turns rankings round. None where nothing was learned.
        kept_interval: Half-width of its interval.
        to_reference: Mean difference of ``map`` from that of the full-label reference.
        to_reference_interval: Half-width of its interval.
        kept_to_reference: Mean difference of ``kept`` from that of the reference.
        kept_to_reference_interval: Half-width of its interval.
        how: How it was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: float
    interval: float | None
    clean: float
    chance: float
    kept: float | None
    kept_interval: float | None
    to_reference: float | None
    to_reference_interval: float | None
    kept_to_reference: float | None
    kept_to_reference_interval: float | None
    how: str


def shaken(
    chosen: dict[int, Record], reference: dict[int, Record], measure: Shake
) -> Shaken | None:
    """Sums up the runs of a row.

    Args:
        chosen: The run of each seed.
        reference: That of the full-label reference, likewise; only what was measured in the same
            way is compared.
        measure: Which change.

    Returns:
        The summary; None if a seed lacks the measure or has it measured in another way.
    """
    ways = {way_of(record, measure) for record in chosen.values()}
    found = _outcomes(chosen, measure)
    if not found or len(found) < len(chosen) or len(ways) > 1:
        return None
    how = ways.pop()
    before = {
        seed: outcome
        for seed, outcome in _outcomes(reference, measure).items()
        if seed in found and way_of(reference[seed], measure) == how
    }
    points = {seed: 100 * outcome.map for seed, outcome in found.items()}
    points_before = {seed: 100 * outcome.map for seed, outcome in before.items()}
    shares = {seed: outcome.kept for seed, outcome in found.items()}
    shares_before = {seed: outcome.kept for seed, outcome in before.items()}
    maps = estimate(list(points.values()))
    apart = estimate_all(_differences(points, points_before).values())
    kept = estimate_all(shares.values())
    kept_apart = estimate_all(_differences(shares, shares_before).values())
    return Shaken(
        map=maps.mean,
        interval=maps.half_width,
        clean=estimate([100 * outcome.clean for outcome in found.values()]).mean,
        chance=100 * next(iter(found.values())).chance,
        kept=kept[0],
        kept_interval=kept[1],
        to_reference=apart[0],
        to_reference_interval=apart[1],
        kept_to_reference=kept_apart[0],
        kept_to_reference_interval=kept_apart[1],
        how=how,
    )


def _outcomes(runs: dict[int, Record], measure: Shake) -> dict[int, Outcome]:
    found = {seed: getattr(record, measure) for seed, record in runs.items()}
    return {seed: outcome for seed, outcome in found.items() if outcome is not None}


Values = Mapping[int, float | None]


def _differences(first: Values, second: Values) -> Values:
    """Of the seeds that the second has."""
    return {
        seed: None if (one := first[seed]) is None or other is None else one - other
        for seed, other in second.items()
    }
