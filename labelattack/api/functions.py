"""Functions that run and read a benchmark."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any, Literal, ParamSpec

from labelattack.api.results import PathLike, Results, path_of, stored

P = ParamSpec("P")


def _completed_by_config(function: Callable[P, Results]) -> Callable[P, Results]:
    """Takes arguments that are left out from the file that ``config`` names, if it has them.

    Only the call itself tells an argument that was left out from one that equals its default.
    """

    @wraps(function)
    def call(*arguments: P.args, **given: P.kwargs) -> Results:
        values: dict[str, Any] = dict(given)
        path, scale = values.pop("config", None), values.pop("scale", None)
        if path is not None or scale is not None:
            values = _read_config(path, scale) | values
        return function(*arguments, **values)

    return call


def _read_config(path: PathLike | None, scale: str | None) -> dict[str, Any]:
    from labelattack.benchmark.plan.config import experiment, read_experiment
    from labelattack.errors import ParameterError
    from labelattack.registry.plugins import load_plugins

    if path is None:
        raise ParameterError(f"scale needs a config, got scale '{scale}' alone")
    values = read_experiment(path_of(path), scale)
    load_plugins(values.get("plugins", ()))
    experiment(values, origin=str(path))
    return values


@_completed_by_config
def bench(
    *,
    title: str = "",
    datasets: Sequence[str] = ("digits",),
    limit: int | None = None,
    model: str | None = None,
    protocol: str = "finetune",
    attacks: Sequence[str] = ("targeted",),
    budget: str | None = None,
    defenses: Sequence[str] = ("pseudo-history",),
    seeds: int = 3,
    epochs: int = 10,
    lrs: Sequence[float] = (),
    batch_sizes: Sequence[int] = (),
    search: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    trials: int | None = None,
    selection: Literal["attacked", "clean", "last"] = "attacked",
    reduction: Literal["native", "mean"] = "native",
    reference: bool = True,
    d_score: str = "default",
    robustness: Sequence[str] = (),
    measures: Sequence[str] = (),
    bootstrap: int = 0,
    micro_batch: int | None = None,
    reported: Sequence[Mapping[str, Any]] = (),
    config: PathLike | None = None,
    scale: str | None = None,
    out: PathLike = "results",
    device: str = "auto",
    jobs: int | None = None,
    executor: str = "local",
    plugins: Sequence[PathLike] = (),
    trackers: Sequence[str] = (),
    retry_failed: bool = False,
    keep_weights: bool = True,
    progress: bool = True,
    **hyper_parameters: Sequence[float],
) -> Results:
    """Crosses attacks with defenses, as ``labelattack bench`` does.

    Finished runs are stored in ``out``; the same call again computes only what is missing, also
    after an interrupt. Components may be named that were registered in this program or notebook;
    several processes know only those in ``plugins``, so one process runs unless ``jobs`` says
    otherwise.

    Args:
        title: Name of the experiment.
        datasets: Specs, each crossed with everything else.
        limit: Images of each split to use, evenly spaced, for a quick try; None for all. Results
            stand apart from those on all images.
        model: Spec; None for each dataset's own.
        protocol: ``finetune``: end to end; ``linear``: a head on frozen features.
        attacks: Specs, such as ``targeted:rate=0.4``.
        budget: Labels that every attack removes, such as ``positives=0.4``; None for its rate.
        defenses: Specs, such as ``wan:weight=0.1``.
        seeds: How many; seeds 0 to N-1.
        epochs: Passes over the training set.
        lrs: Learning rates searched; empty for the protocol's own.
        batch_sizes: Batch sizes searched; empty for the protocol's own.
        search: Values of parameters of losses to search, by ``defense.parameter``.
        trials: Trials of each defense; None for as many as the one with the fewest settings has.
        selection: Whose validation labels choose epoch and recipe; ``clean`` is privileged, and
            ``last`` takes the last epoch, which needs a single recipe.
        reduction: ``native``: losses sum or average as their authors have it; ``mean``: all
            average.
        reference: Whether to add the clean full-label reference.
        d_score: How to measure the D-Score, such as ``grid=4,evidence=map``; ``none`` for none.
        robustness: Specs of measures on perturbed test images: ``evasion``, ``corruption``.
        measures: Specs of further measures of every run, such as ``calibration:bins=10``.
        bootstrap: Resamples of the test images for an interval of each run's mAP; 0 for none.
        micro_batch: Images per forward pass; None for the whole batch.
        reported: Numbers that a paper printed, as in a config file.
        config: TOML file with any of the arguments above; those given here override it.
        scale: Of the config, the table ``[scale.NAME]`` to apply.
        out: Store of results; several processes may share one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        jobs: Processes; None for one a core.
        executor: Where runs happen: ``local``, ``ray``, ``slurm``, with their settings.
        plugins: Python files that register components; in a config, relative to its file.
        trackers: Mirrors of the runs, such as ``tensorboard:folder=runs``.
        retry_failed: Whether to run failed cells again.
        keep_weights: Whether to store what each run trained.
        progress: Whether to show progress on standard error.
        **hyper_parameters: Values of further ones that are searched, named as the fields of
            [SearchSpace][labelattack.training.recipe.SearchSpace].

    Returns:
        The records of all cells of the experiment, with those of earlier calls. Failed cells do
        not stop the others: there is a warning, and they are in ``failed`` with their reasons.

    Raises:
        UnknownNameError: If a component or an argument is unknown; before data are read.
        ParameterError: If a value is wrong; likewise.
        LabelAttackError: If data are absent, a plug-in fails or the store cannot be written.
        KeyboardInterrupt: An ``Interrupted``, which says how many cells are stored.

    Example:
        >>> import labelattack
        >>> results = labelattack.bench(
        ...     attacks=["targeted:rate=0.4"], defenses=["an"], seeds=2, epochs=1, progress=False
        ... )
        >>> len(results.records)
        4
    """
    given = locals()
    del given["hyper_parameters"]
    from labelattack.benchmark.execution import run
    from labelattack.benchmark.plan.config import Experiment, experiment
    from labelattack.benchmark.store.failures import failure_lines
    from labelattack.errors import unknown
    from labelattack.progress import progress_bars
    from labelattack.training.hardware import torch_settings_kept
    from labelattack.training.recipe import SearchSpace

    for name in hyper_parameters:
        if name not in SearchSpace.model_fields:
            raise unknown("argument", name, [*given, *SearchSpace.model_fields])
    given["plugins"] = tuple(str(path_of(path)) for path in plugins)
    keys = {name: given[name] for name in Experiment.model_fields if name in given}
    wanted = experiment(keys | hyper_parameters)
    folder = path_of(out)
    how = run.Execution(
        device=device,
        jobs=jobs,
        executor=executor,
        trackers=tuple(trackers),
        retry_failed=retry_failed,
        keep_weights=keep_weights,
    )
    with torch_settings_kept(), progress_bars(quiet=not progress) as bars:
        outcome = run.run_experiment(wanted, folder, how, progress=bars)
    for line in failure_lines(outcome.records):
        warnings.warn(f"failed: {line}", stacklevel=3)
    return Results(outcome.records, folder=folder, computed=outcome.computed, notes=outcome.notes)


def open(path: PathLike) -> Results:
    """The results of a store.

    Args:
        path: The folder that bench wrote.

    Raises:
        StoreError: If it is not a store.

    Example:
        >>> import labelattack
        >>> labelattack.open("results").to_markdown()  # doctest: +SKIP
    """
    return stored(path)
