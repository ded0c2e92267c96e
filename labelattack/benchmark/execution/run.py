"""Running an experiment: names checked, data read, cells run, failures summed up.

The command line and the Python interface both call this; nothing is printed here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from labelattack.attacks import registry as attacks
from labelattack.attacks.sets import expanded
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.executors import registry as executors
from labelattack.benchmark.execution.executors.base import Executor
from labelattack.benchmark.execution.preflight import usable_attacks
from labelattack.benchmark.execution.scheduler import run_selected
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.plan.config import Experiment
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.failures import failed_of
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.benchmark.store.trackers import registry as trackers
from labelattack.benchmark.store.trackers.base import Trackers
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Progress
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.process_cache import forget
from labelattack.registry.plugins import load_plugins
from labelattack.training.distributed import process_group
from labelattack.training.hardware import resolve_device
from labelattack.training.workers import spawn_context


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Options of execution, which never change a number.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        jobs: Processes on this machine; None for one a core on CPUs, and one on other devices or
            where other processes could not know a component of the main script.
        executor: Spec of the executor.
        trackers: Specs of trackers.
        plugins: Plug-in files, beside those of the experiment.
        retry_failed: Whether to run failed cells again.
        keep_weights: Whether to store what each cell trained.
    """

    device: str = "auto"
    jobs: int | None = None
    executor: str = "local"
    trackers: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    retry_failed: bool = False
    keep_weights: bool = True


@dataclass(frozen=True)
class Plan:
    """An experiment whose names are checked and whose datasets are read.

    Attributes:
        grids: Cells of each dataset.
        options: Options shared by all tasks.
        executor: Where tasks run.
        trackers: Mirrors of the records; entered once.
        notes: What a reader of the results must know of the data and the run.
        jobs: Processes on this machine.
    """

    grids: list[list[Cell]]
    options: RunOptions
    executor: Executor
    trackers: Trackers | None
    notes: list[str]
    jobs: int

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, in the order in which boards show them."""
        return [cell for grid in self.grids for cell in grid]

    def states(self, folder: Path) -> list[tuple[Cell, bool]]:
        """Each cell, and whether the store in a folder, which need not exist, has its record."""
        if not (folder / "store.json").is_file():
            return [(cell, False) for cell in self.cells]
        store = RecordStore(folder)
        return [(cell, store.get(cell.key) is not None) for cell in self.cells]


@dataclass(frozen=True)
class Outcome:
    """A finished run of an experiment.

    Attributes:
        cells: Cells of the experiment.
        records: Their records.
        computed: How many cells this run computed or measured; the others were stored before.
        notes: What a reader of the results must know of the data and the run.
    """

    cells: list[Cell]
    records: list[Record]
    computed: int
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """The records of failed cells."""
        return failed_of(self.records)


class Interrupted(KeyboardInterrupt):
    """An interrupt between two records: running the experiment again goes on from here.

    Attributes:
        finished: Cells whose record is stored.
        total: Cells of the experiment.
        folder: The store.
    """

    def __init__(self, finished: int, total: int, folder: Path) -> None:
        super().__init__(f"{finished} of {total} cells are in '{folder}'")
        self.finished, self.total, self.folder = finished, total, folder


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def run_experiment(
    experiment: Experiment,
    folder: Path,
    how: Execution = Execution(),
    *,
    progress: Progress = silent,
) -> Outcome:
    """Runs what a store does not hold of an experiment yet.

    Under ``torchrun``, the processes train each network together.

    Args:
        experiment: What to cross and to measure.
        folder: The store; made if absent, once every name is checked and the data are read.
        how: Where and how to run.
        progress: Told of datasets read, preparation and cells.

    Returns:
        The records of all its cells, with those of earlier runs.

    Raises:
        LabelAttackError: If a name or a value is wrong, data are absent, or the store cannot be
            written.
        Interrupted: If a KeyboardInterrupt ends it.
    """
    with process_group(resolve_device(how.device)):
        return run_plan(plan_experiment(experiment, how, progress=progress), folder, how, progress)


def plan_experiment(
    experiment: Experiment,
    how: Execution,
    *,
    progress: Progress = silent,
) -> Plan:
    """Checks every name and parameter of an experiment, then reads its datasets.

    Args:
        experiment: What to cross and to measure.
        how: Where and how to run.
        progress: Told of datasets read.

    Raises:
        LabelAttackError: If a name or a value is wrong, or data are absent.
    """
    forget()
    plugins = tuple(dict.fromkeys((*experiment.plugins, *how.plugins)))
    load_plugins(plugins)
    executor = executors.create(how.executor)
    mirrors = Trackers(map(trackers.create, how.trackers)) if how.trackers else None
    device = str(resolve_device(how.device))
    options = RunOptions(
        device=device,
        measures=experiment.request(),
        keep_weights=how.keep_weights,
        plugins=tuple(str(Path(path).resolve()) for path in plugins),
    )
    grids = experiment.grids()
    _check_names(grids)
    jobs, notes = _processes(how.jobs, device)
    parts = []
    for grid in grids:
        cells, warnings = _cells(grid, progress)
        parts.append(cells)
        notes = [*notes, *warnings]
    return Plan(parts, options, executor, mirrors, notes, jobs)


def run_plan(plan: Plan, folder: Path, how: Execution, progress: Progress = silent) -> Outcome:
    """Runs the cells of a plan that a store does not hold.

    Args:
        plan: What to run.
        folder: The store; made if absent.
        how: Where and how to run; ``retry_failed`` counts here.
        progress: Told of preparation and cells.

    Raises:
        LabelAttackError: If something is wrong that concerns every cell.
        Interrupted: If a KeyboardInterrupt ends it.
    """
    store = RecordStore(folder)
    computed = 0
    try:
        with plan.trackers or Trackers() as mirrors:
            for grid in plan.grids:
                computed += run_selected(
                    grid,
                    store,
                    plan.options,
                    jobs=plan.jobs,
                    executor=plan.executor,
                    retry_failed=how.retry_failed,
                    progress=progress,
                    finished=mirrors.record if plan.trackers is not None else None,
                )
    except KeyboardInterrupt:
        finished = sum(store.get(cell.key) is not None for cell in plan.cells)
        raise Interrupted(finished, len(plan.cells), folder) from None
    records = [record for cell in plan.cells if (record := store.get(cell.key)) is not None]
    return Outcome(plan.cells, records, computed, plan.notes)


def _check_names(grids: list[Grid]) -> None:
    """Resolves every name and parameter, before a dataset is read."""
    for grid in grids:
        for spec in expanded(grid.attacks)[0]:
            attacks.resolve(spec)
        grid.cells("")


def _cells(grid: Grid, progress: Progress) -> tuple[list[Cell], tuple[str, ...]]:
    """Cells of a grid, and the warnings of its dataset, which is read for its fingerprint."""
    what = f"reading {grid.dataset}"
    progress(what, 0, 1)
    splits = load(str(datasets.resolve(grid.dataset)), grid.limit)
    splits.read_contents(progress)
    progress(what, 1, 1)
    usable, notes = usable_attacks(grid, splits)
    chosen = grid.model_copy(update={"attacks": usable})
    return chosen.cells(splits.fingerprint), (*splits.warnings, *notes)


def _processes(jobs: int | None, device: str) -> tuple[int, list[str]]:
    """Processes on this machine, and why it is only one where it could be more."""
    if jobs is not None:
        if jobs < 1:
            raise ParameterError(f"jobs must be at least 1, got {jobs}")
        return jobs, []
    several = (os.cpu_count() or 1) if device == "cpu" else 1
    if several > 1:
        try:
            spawn_context()
        except LabelAttackError as error:
            return 1, [f"one process runs everything: {error}"]
    return several, []
