"""Running a grid of cells, beside whoever else works on the same store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from labelattack.benchmark.execution.context import load, setup_of
from labelattack.benchmark.execution.executors.base import Executor, WorkerPool
from labelattack.benchmark.execution.executors.local import Local
from labelattack.benchmark.execution.grouping import groups
from labelattack.benchmark.execution.leases import LEASE, Leases
from labelattack.benchmark.execution.preflight import check_cells
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.base import Progress
from labelattack.measures.base import Measure
from labelattack.measures.request import NOTHING, MeasureRequest
from labelattack.models import registry as models
from labelattack.training.compute import Compute
from labelattack.training.distributed import broadcast, check_parallel, is_main_process, world_size
from labelattack.training.protocols import registry as protocols
from labelattack.training.workers import require_main_process

_log = logging.getLogger("labelattack")
USUAL, HERE = RunOptions(), Local()
_TURNS = 8  # tasks for each process into which measuring is divided
POLL = 0.5  # seconds between looks at what others compute


@dataclass
class Scheduler:
    """One run of a grid: the cells that are missing, and who computes them.

    Attributes:
        later: Measures that a later run takes of these cells; prepared with those of this one.
        missing: Cells that the store did not hold when the run began.
        waiting: Groups that nobody here has begun, the next one last.
        running: Cells of the groups that run here.
        elsewhere: Cells that another process has claimed.
        done: Missing cells that the store holds by now, or that failed here.
        computed: Cells that were run here.
        stopped: The first error that stopped a group in its middle.
    """

    cells: Sequence[Cell]
    store: RecordStore
    job: RunOptions
    _: KW_ONLY
    jobs: int = 1
    executor: Executor = HERE
    retry_failed: bool = False
    lease: float = LEASE
    progress: Progress = lambda what, done, total: None
    finished: Callable[[Record], None] | None = None
    later: MeasureRequest = NOTHING
    missing: list[Cell] = field(default_factory=list, init=False)
    waiting: list[list[Cell]] = field(default_factory=list, init=False)
    running: dict[Future[None], list[Cell]] = field(default_factory=dict, init=False)
    elsewhere: list[Cell] = field(default_factory=list, init=False)
    done: int = field(default=0, init=False)
    computed: int = field(default=0, init=False)
    stopped: Exception | None = field(default=None, init=False)

    def run(self) -> int:
        """Runs what is missing; once. Returns how many cells were run here."""
        require_main_process()
        self.jobs = self.jobs if world_size() == 1 else 1
        self.missing = broadcast([cell for cell in self.cells if self.lacking(cell)])
        if not self.missing:
            return 0
        self.prepare()
        total = len(self.missing)
        self.progress("cells", 0, total)
        executor = self.executor
        with (
            executor.open(min(self.jobs, total), self.job, self.store) as lanes,
            Leases(self.store.folder / "claims", self.lease) as claims,
        ):
            _log.info("%d cells to run on %s, %d at once", total, self.device, lanes.width)
            self.waiting = self.queue(lanes.width)
            while True:
                self.submit(lanes, claims)
                self.collect(claims)
                self.progress("cells", self.done, total)
                if self.stopped is not None and not self.running:
                    raise self.stopped
                if not self.waiting and not self.running:
                    self.waiting = broadcast(groups(self.elsewhere, lanes.width, self.device))
                    if not self.waiting:
                        return self.computed
                    self.elsewhere.clear()
                    time.sleep(POLL)

    @property
    def device(self) -> str:
        """Device that groups are made for.

        Of machines far away nothing is known: groups are as large as this one's CPU would like
        them.
        """
        return self.job.device if self.executor.on_this_machine else "cpu"

    def lacking(self, cell: Cell) -> bool:
        """Whether the store lacks a cell, or a measure of it."""
        record = self.store.get(cell.key)
        if record is None or (self.retry_failed and record.status == "failed"):
            return True
        return record.lacking(self.job.measures) != NOTHING

    def prepare(self) -> None:
        """Fails where what is wanted cannot be had; fills caches of this machine."""
        for protocol in {cell.protocol for cell in self.missing}:
            check_parallel(protocol, allowed=protocols.create(protocol).data_parallel)
        compute = Compute(self.device, self.jobs, self.job.plugins, self.progress)
        check_cells(self.missing, build=self.executor.on_this_machine, compute=compute)
        if self.executor.on_this_machine:
            measures = (self.job.measures.measures | self.later.measures).values()
            _prepare(self.missing, measures, self.job, self.jobs, self.progress)

    def queue(self, width: int) -> list[list[Cell]]:
        """Groups of the missing cells, the first one last."""
        # What is trained already and only measured gains nothing by company, and may take long.
        trained = [cell for cell in self.missing if self.store.has_weights(cell.key)]
        measured = {cell.key for cell in trained}
        untrained = [cell for cell in self.missing if cell.key not in measured]
        most = max(1, len(trained) // (_TURNS * width))
        parts = [
            group[start : start + most]
            for group in groups(trained, width, self.device)
            for start in range(0, len(group), most)
        ]
        return list(reversed([*groups(untrained, width, self.device), *parts]))

    def claim(self, group: list[Cell], claims: Leases) -> list[Cell]:
        """Those of a group that are for this process to run; the others end up elsewhere."""
        mine = []
        for cell in group:
            if not claims.acquire(cell.key):
                self.elsewhere.append(cell)
            elif self.lacking(cell):
                mine.append(cell)
            else:  # another process has finished it in the meantime
                claims.release(cell.key)
                self.done += 1
        return mine

    def submit(self, lanes: WorkerPool, claims: Leases) -> None:
        """Hands groups to the workers, as long as no error has stopped one."""
        # A short queue: an interrupt has little to cancel, and others find something to do.
        most = lanes.width if lanes.width > 1 else 0
        while self.waiting and self.stopped is None and len(self.running) <= most:
            group = self.waiting.pop()
            mine = broadcast(self.claim(group, claims) if is_main_process() else group)
            if mine:
                self.running[lanes.pool.submit(lanes.run, mine)] = mine

    def collect(self, claims: Leases) -> None:
        """Waits a moment for groups, and counts and gives back those that have ended."""
        for future in wait(self.running, timeout=POLL, return_when=FIRST_COMPLETED).done:
            group = self.running.pop(future)
            try:
                future.result()
            except Exception as error:  # others finish what they have begun
                self.stopped = self.stopped or error
                group = [cell for cell in group if not self.lacking(cell)]
            self.computed += len(group)
            self.done += len(group)
            for cell in group if is_main_process() else ():
                claims.release(cell.key)
                if self.finished is not None and (record := self.store.get(cell.key)) is not None:
                    self.finished(record)


def run_grid(
    cells: Sequence[Cell],
    store: RecordStore,
    job: RunOptions = USUAL,
    *,
    jobs: int = 1,
    executor: Executor = HERE,
    retry_failed: bool = False,
    lease: float = LEASE,
    progress: Progress = lambda what, done, total: None,
    finished: Callable[[Record], None] | None = None,
) -> int:
    """Runs the cells that the store does not hold; each record is on disk when it is finished.

    Several processes, also of several machines that share the folder, may do this on one store at
    once: each cell is computed by one of them, and all return when every cell is there. A stored
    cell that lacks a measure is measured from its stored weights, or trained again where these
    were not kept.

    Args:
        cells: What is wanted.
        store: Where records are, and go.
        job: How to run them, and what to measure.
        jobs: Processes on this machine.
        executor: Where tasks run.
        retry_failed: Whether to run cells again that failed before.
        lease: Seconds after which the claims of a process that shows no sign of life are void.
        progress: Told of preparation and cells.
        finished: Given each record that was computed here, as soon as it is stored.

    Returns:
        Number of cells that were run by this call.

    Raises:
        LabelAttackError: If what is wanted cannot be had, before anything is trained; or if a group
            is stopped in its middle. What it had finished is stored, and so is what the groups that
            were running beside it come to.
    """
    return Scheduler(
        cells,
        store,
        job,
        jobs=jobs,
        executor=executor,
        retry_failed=retry_failed,
        lease=lease,
        progress=progress,
        finished=finished,
    ).run()


def run_selected(
    cells: Sequence[Cell],
    store: RecordStore,
    job: RunOptions = USUAL,
    *,
    progress: Progress = lambda what, done, total: None,
    **how: Any,
) -> int:
    """Runs a grid as ``run_grid`` does, and attacks test images for the runs of boards only.

    An evasion attack takes longer than training a head does, and boards show one recipe of each
    seed: where several are searched, the one that validation selects is attacked.

    Args:
        cells: What is wanted.
        store: Where records are, and go.
        job: How to run them, and what to measure.
        progress: Told of preparation, cells and attacks.
        **how: Other arguments of ``run_grid``; ``finished`` is told of a cell once.

    Returns:
        Number of cells that were run or measured by this call.
    """
    searched = len({cell.recipe for cell in cells}) > 1
    cheap = job.measures.of_every_run()
    if cheap == job.measures or not job.keep_weights or not searched:
        return run_grid(cells, store, job, progress=progress, **how)
    # What keeps an attack from running is said now, not when everything is trained.
    first = replace(job, measures=cheap)
    computed = Scheduler(cells, store, first, later=job.measures, progress=progress, **how).run()
    records = [record for cell in cells if (record := store.get(cell.key)) is not None]
    chosen = [record.cell for record in broadcast(selected_runs(records))]

    def told(what: str, done: int, total: int) -> None:
        progress("measured" if what == "cells" else what, done, total)

    once = how | {"retry_failed": False, "finished": None}
    return max(computed, run_grid(chosen, store, job, progress=told, **once))


def _prepare(
    cells: Sequence[Cell],
    measures: Collection[Measure],
    job: RunOptions,
    jobs: int,
    progress: Progress,
) -> None:
    """In this process, so that features are cached before several others want them."""
    for dataset, limit, model, protocol in {
        (c.dataset, c.limit, c.model, c.protocol) for c in cells
    }:
        compute = Compute(job.device, jobs, job.plugins, progress)
        protocols.create(protocol).prepare(load(dataset, limit), models.resolve(model), compute)
        setup = setup_of(dataset, model, protocol, compute, limit)
        for measure in measures:
            measure.prepare(setup)
