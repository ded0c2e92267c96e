"""The benchmark from Python: what ``labelattack bench``, ``show`` and ``check`` do, as functions.

    import labelattack

    results = labelattack.bench(attacks=["targeted:rate=0.4"], defenses=["an", "pseudo-history"])
    results.to_dataframe()

In a notebook, a result shows its leaderboards.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from labelattack.files.storage import expanded
from labelattack.optional import extra

if TYPE_CHECKING:
    from labelattack.benchmark.boards.leaderboard import Board
    from labelattack.benchmark.gate.check import Check
    from labelattack.benchmark.store.record import Record

P = ParamSpec("P")
PathLike = str | os.PathLike[str]


class Results:
    """Records of a benchmark, and the leaderboards that sum them up.

    Args:
        records: Finished and failed records.
        folder: The store that they are in; None if they are in none.
        computed: How many of them were computed by the call that returned this.
        notes: What a reader of the results must know of the data and the run.

    Example:
        >>> import labelattack
        >>> results = labelattack.bench(defenses=["an"], seeds=1, epochs=1, progress=False)
        >>> results.boards[0].rows[0].defense
        'bce'
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        folder: Path | None = None,
        computed: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self.records = list(records)
        self.folder = folder
        self.computed = computed
        self.notes = list(notes)

    @cached_property
    def boards(self) -> list[Board]:
        """A leaderboard for each set of records that may be compared."""
        from labelattack.benchmark.boards.leaderboard import boards

        return boards(self.records)

    @property
    def failed(self) -> list[Record]:
        """The records of failed cells, each with its reason."""
        from labelattack.benchmark.store.failures import failed_of

        return failed_of(self.records)

    def to_dataframe(self, long: bool = False) -> Any:
        """The leaderboards as a pandas data frame.

        Args:
            long: Whether there is a line for each row and metric (``attack``, ``defense``,
                ``metric``, ``value``, ``interval``, ``seeds``, ...), as plots want it; otherwise
                a line a row, with the fields of the CSV format.

        Raises:
            LabelAttackError: If pandas is not installed.
        """
        from labelattack.benchmark.report.notebook import long_rows, wide_rows

        pandas = extra("pandas", "dataframe")
        return pandas.DataFrame(long_rows(self.boards) if long else wide_rows(self.boards))

    def to_markdown(self) -> str:
        """A Markdown table for each leaderboard."""
        from labelattack.benchmark.report.tables import to_markdown

        return to_markdown(self.boards)

    def to_json(self) -> str:
        """The leaderboards as a JSON array."""
        from labelattack.benchmark.report.tables import to_json

        return to_json(self.boards)

    def to_csv(self) -> str:
        """The leaderboards as CSV, a line a row."""
        from labelattack.benchmark.report.tables import to_csv

        return to_csv(self.boards)

    def plot(self, path: PathLike | None = None) -> Any:
        """Draws mAP against the share of labels removed, for the first leaderboard with a rate.

        Args:
            path: Where the picture also goes, ``.png``, ``.pdf`` or ``.svg``; None for nowhere.

        Returns:
            A matplotlib figure.

        Raises:
            StoreError: If no attack has a rate, or the picture cannot be written.
        """
        from labelattack.benchmark.report.plots import curves_figure
        from labelattack.errors import StoreError
        from labelattack.measures._d_score.plots import save_figure

        board = next((board for board in self.boards if board.curves), None)
        if board is None:
            raise StoreError(
                "results must hold runs of an attack with a rate, such as targeted:rate=0.4, "
                "got none"
            )
        figure = curves_figure(board)
        if path is not None:
            save_figure(figure, _path(path))
        return figure

    def report(self, path: PathLike) -> None:
        """Writes the leaderboards as one HTML page that needs no network.

        Args:
            path: The file.

        Raises:
            LabelAttackError: If what the extra ``report`` brings is not installed.
            StoreError: If the file cannot be written.
        """
        from labelattack.benchmark.report.html.page import write_report
        from labelattack.errors import printable

        out = _path(path)
        name = printable((self.folder or out.with_suffix("")).resolve().name)
        write_report(out, name, self.records)

    def __repr__(self) -> str:
        from labelattack.benchmark.boards.text import title

        place = "" if self.folder is None else f" in '{self.folder}'"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        head = f"Results of {len(self.records)} cells{place}{failed}"
        lines = [f"  {title(board)}: {len(board.rows)} rows" for board in self.boards]
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        """The leaderboards as a notebook shows them."""
        from html import escape

        from labelattack.benchmark.report.notebook import boards_to_html
        from labelattack.benchmark.store.failures import failure_lines

        told = [f"note: {note}" for note in self.notes]
        told += [f"failed: {line}" for line in failure_lines(self.records)]
        below = "<br>".join(map(escape, told))
        return boards_to_html(self.boards) + (f"\n<p><small>{below}</small></p>" if told else "")


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

    if path is None:
        raise ParameterError(f"scale needs a config, got scale '{scale}' alone")
    values = read_experiment(_path(path), scale)
    experiment(values, origin=str(path))
    return values


@_completed_by_config
def bench(
    *,
    title: str = "",
    datasets: Sequence[str] = ("digits",),
    model: str | None = None,
    protocol: str = "finetune",
    attacks: Sequence[str] = ("targeted",),
    defenses: Sequence[str] = ("pseudo-history",),
    seeds: int = 3,
    epochs: int = 10,
    lrs: Sequence[float] = (),
    batch_sizes: Sequence[int] = (),
    selection: Literal["attacked", "clean"] = "attacked",
    reference: bool = True,
    d_score: str = "default",
    robustness: Sequence[str] = (),
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
) -> Results:
    """Crosses attacks with defenses, as ``labelattack bench`` does.

    Finished runs are stored in ``out``; the same call again computes only what is missing, also
    after an interrupt. Components may be named that were registered in this program or notebook;
    several processes know only those in ``plugins``, so one process runs unless ``jobs`` says
    otherwise.

    Args:
        title: Name of the experiment.
        datasets: Specs, each crossed with everything else.
        model: Spec; None for each dataset's own.
        protocol: ``finetune``: end to end; ``linear``: a head on frozen features.
        attacks: Specs, such as ``targeted:rate=0.4``.
        defenses: Specs, such as ``wan:weight=0.1``.
        seeds: How many; seeds 0 to N-1.
        epochs: Passes over the training set.
        lrs: Learning rates searched; empty for the protocol's own.
        batch_sizes: Batch sizes searched; empty for the protocol's own.
        selection: Whose validation labels choose epoch and recipe; ``clean`` is privileged.
        reference: Whether to add the clean full-label reference.
        d_score: How to measure the D-Score, such as ``grid=4,evidence=map``; ``none`` for none.
        robustness: Specs of what is done to test images: ``evasion``, ``corruption``.
        bootstrap: Resamples of the test images for an interval of each run's mAP; 0 for none.
        micro_batch: Images per forward pass; None for the whole batch.
        reported: Numbers that a paper printed, as in a config file.
        config: TOML file with any of the arguments above; those given here override it.
        scale: Of the config, the table ``[scale.NAME]`` to apply.
        out: Store of results; several processes may share one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        jobs: Processes; None for one a core.
        executor: Where runs happen: ``local``, ``ray``, ``slurm``, with their settings.
        plugins: Python files that register components.
        trackers: Mirrors of the runs, such as ``tensorboard:folder=runs``.
        retry_failed: Whether to run failed cells again.
        keep_weights: Whether to store what each run trained.
        progress: Whether to show progress on standard error.

    Returns:
        The records of all cells of the experiment, with those of earlier calls. Failed cells do
        not stop the others: there is a warning, and they are in ``failed`` with their reasons.

    Raises:
        UnknownNameError: If a component is unknown; before data are read.
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
    from labelattack.benchmark.execution import run
    from labelattack.benchmark.plan.config import Experiment, experiment
    from labelattack.benchmark.store.failures import failure_lines
    from labelattack.progress import progress_bars

    keys = {name: given[name] for name in Experiment.model_fields}
    folder = _path(out)
    how = run.Execution(
        device=device,
        jobs=jobs,
        executor=executor,
        trackers=tuple(trackers),
        plugins=tuple(str(_path(path)) for path in plugins),
        retry_failed=retry_failed,
        keep_weights=keep_weights,
    )
    with progress_bars(quiet=not progress) as bars:
        outcome = run.run_experiment(experiment(keys), folder, how, progress=bars)
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
    from labelattack.benchmark.store.store import RecordStore

    folder = _path(path)
    return Results(list(RecordStore(folder, create=False)), folder=folder)


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
    from labelattack.benchmark.gate.baseline import read_baseline, summed_up
    from labelattack.benchmark.gate.check import Limits, compare
    from labelattack.benchmark.gate.current import current
    from labelattack.errors import unknown
    from labelattack.registry.parameters import validated

    for name in limits:
        if name not in Limits.model_fields:
            raise unknown("limit", name, Limits.model_fields)
    wanted = validated(Limits, **limits)
    then = read_baseline(_path(baseline))
    given = results if isinstance(results, Results) else open(results)
    records, left_out = current(given.records)
    found = compare(then, summed_up(records, wanted.measures), wanted)
    return found.model_copy(update={"notes": [*found.notes, *left_out]})


def _path(given: PathLike) -> Path:
    return expanded(os.fspath(given))
