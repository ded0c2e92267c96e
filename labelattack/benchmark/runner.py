"""Running a grid of cells over processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from math import ceil
from pathlib import Path

from torch import Tensor

from labelattack.benchmark.cells import run_cells
from labelattack.benchmark.diagnosing import diagnosis_of, prepare_d_score, rebuild
from labelattack.benchmark.grid import Cell
from labelattack.benchmark.loading import load
from labelattack.benchmark.store import Record, RecordStore
from labelattack.diagnosis.outcome import VERSION
from labelattack.diagnosis.settings import DScoreSettings
from labelattack.models import registry as models
from labelattack.training.device import resolve_device
from labelattack.training.distributed import agreed, check_parallel, leads, size
from labelattack.training.features import Progress
from labelattack.training.protocols import prepare
from labelattack.training.workers import worker_pool

HEADS_AT_ONCE = 16  # more share the work no better: the optimiser's memory traffic is theirs alone


def run_grid(
    cells: Sequence[Cell],
    store: RecordStore,
    *,
    device: str = "cpu",
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    retry_failed: bool = False,
    d_score: DScoreSettings | None = None,
    keep_weights: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> int:
    """Runs the cells that the store does not hold; each record is on disk when it is finished.

    Args:
        cells: What is wanted.
        store: Where records are, and go.
        device: Where to compute.
        jobs: Processes.
        plugins: Plug-in files that the processes must load.
        retry_failed: Whether to run cells again that failed before.
        d_score: How to measure D-Scores; None for none. A stored cell that has another or none is
            measured from its stored weights, or trained again where these were not kept.
        keep_weights: Whether to store what each cell trained.
        progress: Told of preparation and cells.

    Returns:
        Number of cells that were run.
    """
    jobs = jobs if size() == 1 else 1
    missing = agreed(
        [cell for cell in cells if _wanted(store.get(cell.key), retry_failed, d_score)]
    )
    if not missing:
        return 0
    for dataset, model, protocol in {(c.dataset, c.model, c.protocol) for c in missing}:
        check_parallel(protocol)
        # In this process, so that the features are cached before several others want them.
        prepare(
            protocol,
            load(dataset),
            models.resolve(model),
            device=resolve_device(device),
            jobs=jobs,
            plugins=plugins,
            progress=progress,
        )
        if d_score is not None:
            prepare_d_score(dataset, model, protocol, d_score, device, jobs, plugins, progress)
    progress("cells", 0, len(missing))
    done = 0
    work = groups(missing, jobs)
    with worker_pool(min(jobs, len(work)), plugins) as pool:
        waiting = list(reversed(work))
        running: set[Future[int]] = set()
        while waiting or running:
            # A short queue: an interrupt has little to cancel.
            while waiting and len(running) < 2 * jobs:
                task = waiting.pop(), device, store.folder, d_score, keep_weights
                running.add(pool.submit(_run_and_store, *task))
                if jobs == 1:
                    break
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                done += future.result()
                progress("cells", done, len(missing))
    return done


def groups(cells: Sequence[Cell], jobs: int = 1) -> list[list[Cell]]:
    """Divides cells into units of work.

    Args:
        cells: What is to be run.
        jobs: Processes that each want something to do.

    Returns:
        Linear heads by the dozen where they share features, defense, batch size and epochs; whole
        networks one by one. In the order of their first cells.
    """
    together: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        shared = (
            cell.dataset, cell.model, cell.defense, cell.recipe.batch_size, cell.recipe.epochs
        )  # fmt: skip
        together[shared if cell.protocol == "linear" else (cell.key,)].append(cell)
    size = min(HEADS_AT_ONCE, ceil(len(cells) / jobs))
    return [
        members[start : start + size]
        for members in together.values()
        for start in range(0, len(members), size)
    ]


def _wanted(record: Record | None, retry_failed: bool, d_score: DScoreSettings | None) -> bool:
    if record is None or (retry_failed and record.status == "failed"):
        return True
    return record.status == "done" and d_score is not None and not _measured(record, d_score)


def _measured(record: Record, d_score: DScoreSettings) -> bool:
    found = record.diagnosis
    return found is not None and found.version == VERSION and found.settings == d_score


def _run_and_store(
    cells: Sequence[Cell],
    device: str,
    folder: Path,
    d_score: DScoreSettings | None,
    keep_weights: bool,
) -> int:
    store = RecordStore(folder)

    def keep(cell: Cell, state: dict[str, Tensor]) -> None:
        if keep_weights and leads():
            store.add_weights(cell.key, state)

    untrained = []
    for cell in cells if leads() else ():
        record = store.get(cell.key)
        state = store.weights(cell.key) if record and record.status == "done" else None
        if record is None or state is None or d_score is None:
            untrained.append(cell)
            continue
        network = rebuild(cell.dataset, cell.model, state)
        found = diagnosis_of(cell, network, d_score, device=device)
        store.add(record.model_copy(update={"diagnosis": found}))
    untrained = agreed(untrained)
    if untrained:
        # Processes that train one network together need the leading one alone for the D-Score.
        measured = d_score if leads() else None
        for record in run_cells(untrained, device=device, d_score=measured, keep=keep):
            if leads():
                store.add(record)
    return len(cells)
