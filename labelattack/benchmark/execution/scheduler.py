"""Running a grid of cells, beside whoever else works on the same store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

from labelattack.benchmark.execution.context import load, setup_of
from labelattack.benchmark.execution.executors.base import Executor
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
from labelattack.measures.request import NOTHING
from labelattack.measures.run import Compute
from labelattack.models import registry as models
from labelattack.training.distributed import broadcast, check_parallel, is_main_process, world_size
from labelattack.training.hardware import resolve_device
from labelattack.training.protocols import registry as protocols
from labelattack.training.workers import require_main_process

_log = logging.getLogger("labelattack")
USUAL, HERE = RunOptions(), Local()
_TURNS = 8  # tasks for each process into which measuring is divided
POLL = 0.5  # seconds between looks at what others compute


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
    require_main_process()
    jobs = jobs if world_size() == 1 else 1

    def lacking(cell: Cell) -> bool:
        record = store.get(cell.key)
        if record is None or (retry_failed and record.status == "failed"):
            return True
        return record.lacking(job.measures) != NOTHING

    missing = broadcast([cell for cell in cells if lacking(cell)])
    if not missing:
        return 0
    for protocol in {cell.protocol for cell in missing}:
        check_parallel(protocol, allowed=protocols.create(protocol).data_parallel)
    check_cells(missing, build=executor.on_this_machine)
    if executor.on_this_machine:
        _prepare(missing, job, jobs, progress)
    # Of machines far away nothing is known: groups are as large as this one's CPU would like them.
    device = job.device if executor.on_this_machine else "cpu"
    progress("cells", 0, len(missing))
    elsewhere: list[Cell] = []
    running: dict[Future[None], list[Cell]] = {}
    done = computed = 0
    stopped: Exception | None = None

    def claimed(group: list[Cell]) -> list[Cell]:
        """Those of a group that are for this process to run; the others end up elsewhere."""
        nonlocal done
        mine = []
        for cell in group:
            if not claims.acquire(cell.key):
                elsewhere.append(cell)
            elif lacking(cell):
                mine.append(cell)
            else:  # another process has finished it in the meantime
                claims.release(cell.key)
                done += 1
        return mine

    with (
        executor.open(min(jobs, len(missing)), job, store) as lanes,
        Leases(store.folder / "claims", lease) as claims,
    ):
        _log.info("%d cells to run on %s, %d at once", len(missing), device, lanes.width)
        # What is trained already and only measured gains nothing by company, and may take long.
        trained = [cell for cell in missing if store.has_weights(cell.key)]
        measured = {cell.key for cell in trained}
        untrained = [cell for cell in missing if cell.key not in measured]
        most = max(1, len(trained) // (_TURNS * lanes.width))
        parts = [
            group[start : start + most]
            for group in groups(trained, lanes.width, device)
            for start in range(0, len(group), most)
        ]
        waiting = list(reversed([*groups(untrained, lanes.width, device), *parts]))
        while True:
            # A short queue: an interrupt has little to cancel, and others find something to do.
            while (
                waiting
                and stopped is None
                and len(running) <= (lanes.width if lanes.width > 1 else 0)
            ):
                group = waiting.pop()
                mine = broadcast(claimed(group) if is_main_process() else group)
                if mine:
                    running[lanes.pool.submit(lanes.run, mine)] = mine
            for future in wait(running, timeout=POLL, return_when=FIRST_COMPLETED).done:
                group = running.pop(future)
                try:
                    future.result()
                except Exception as error:  # others finish what they have begun
                    stopped = stopped or error
                    group = [cell for cell in group if not lacking(cell)]
                computed += len(group)
                done += len(group)
                for cell in group if is_main_process() else ():
                    claims.release(cell.key)
                    if finished is not None and (record := store.get(cell.key)) is not None:
                        finished(record)
            progress("cells", done, len(missing))
            if stopped is not None and not running:
                raise stopped
            if not waiting and not running:
                waiting = broadcast(groups(elsewhere, lanes.width, device))
                if not waiting:
                    return computed
                elsewhere.clear()
                time.sleep(POLL)


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
    computed = run_grid(cells, store, replace(job, measures=cheap), progress=progress, **how)
    records = [record for cell in cells if (record := store.get(cell.key)) is not None]
    chosen = [record.cell for record in broadcast(selected_runs(records))]

    def told(what: str, done: int, total: int) -> None:
        progress("measured" if what == "cells" else what, done, total)

    once = how | {"retry_failed": False, "finished": None}
    return max(computed, run_grid(chosen, store, job, progress=told, **once))


def _prepare(cells: Sequence[Cell], job: RunOptions, jobs: int, progress: Progress) -> None:
    """In this process, so that features are cached before several others want them."""
    for dataset, model, protocol in {(c.dataset, c.model, c.protocol) for c in cells}:
        device = resolve_device(job.device)
        protocols.create(protocol).prepare(
            load(dataset),
            models.resolve(model),
            device=device,
            jobs=jobs,
            plugins=job.plugins,
            progress=progress,
        )
        compute = Compute(job.device, jobs, job.plugins, progress)
        setup = setup_of(dataset, model, protocol, compute)
        for measure in job.measures.measures.values():
            measure.prepare(setup)
