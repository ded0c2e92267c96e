"""Tasks: units of work, on this machine or another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from labelattack.benchmark.execution.run_cell import measured_again, run_cells
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.measures.request import NOTHING, MeasureRequest
from labelattack.registry.plugins import load_plugins
from labelattack.training.distributed import broadcast, is_main_process
from labelattack.training.hardware import single_thread


@dataclass(frozen=True)
class RunOptions:
    """Options shared by all tasks of a grid; they pickle.

    Attributes:
        device: Where to compute.
        measures: What to measure beside test mAP.
        keep_weights: Whether to store what each cell trained.
        plugins: Plug-in files, which lie at these paths on every machine.
    """

    device: str = "cpu"
    measures: MeasureRequest = NOTHING
    keep_weights: bool = True
    plugins: tuple[str, ...] = ()


class RecordSink(Protocol):
    """Source and destination of a task's records and weights."""

    def get(self, key: str) -> Record | None:
        """The record of a cell."""
        ...

    def weights(self, key: str) -> dict[str, Tensor] | None:
        """Weights that a cell trained."""
        ...

    def add(self, record: Record) -> None:
        """Stores a record."""
        ...

    def add_weights(self, key: str, state: Mapping[str, Tensor]) -> None:
        """Stores the weights that a cell trained."""
        ...


@dataclass
class MemoryStore:
    """A shelf in memory, sent to and from machines that share no folder.

    Attributes:
        records: By key.
        states: Weights, by key.
        error: What stopped the task, if something did; the rest is what it had finished.
    """

    records: dict[str, Record] = field(default_factory=dict)
    states: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    error: Exception | None = None

    @classmethod
    def of(cls, cells: Sequence[Cell], store: RecordSink) -> MemoryStore:
        """Records and weights that a store has of some cells."""
        parcel = cls()
        for key in (cell.key for cell in cells):
            record, state = store.get(key), store.weights(key)
            if record is not None and state is not None:
                parcel.add(record)
                parcel.add_weights(key, state)
        return parcel

    def unpack(self, store: RecordSink) -> None:
        """Puts everything on another shelf, a cell's record last: it says that all is there.

        Raises:
            Exception: What stopped the task, after that.
        """
        for key, state in self.states.items():
            store.add_weights(key, state)
        for record in self.records.values():
            store.add(record)
        if self.error is not None:
            raise self.error

    def get(self, key: str) -> Record | None:
        """The record of a cell."""
        return self.records.get(key)

    def weights(self, key: str) -> dict[str, Tensor] | None:
        """Weights that a cell trained."""
        return self.states.get(key)

    def add(self, record: Record) -> None:
        """Stores a record."""
        self.records[record.key] = record

    def add_weights(self, key: str, state: Mapping[str, Tensor]) -> None:
        """Stores the weights that a cell trained."""
        self.states[key] = {name: value.detach().cpu() for name, value in state.items()}


def run_task(cells: Sequence[Cell], job: RunOptions, shelf: RecordSink) -> None:
    """Runs cells, or measures what is lacking of those that are trained.

    Args:
        cells: A group, see [groups][labelattack.benchmark.execution.grouping.groups].
        job: What is wanted of them.
        shelf: Where records and weights are, and go.

    Raises:
        LabelAttackError: If something is wrong that concerns every cell.
    """
    untrained = []
    for cell in cells if is_main_process() else ():
        record = shelf.get(cell.key)
        state = shelf.weights(cell.key) if record and record.status == "done" else None
        if record is None or state is None or record.lacking(job.measures) == NOTHING:
            untrained.append(cell)
        else:
            shelf.add(measured_again(record, state, job.measures, device=job.device))
    untrained = broadcast(untrained)
    if not untrained:
        return

    def keep(cell: Cell, state: dict[str, Tensor]) -> None:
        if job.keep_weights and is_main_process():
            shelf.add_weights(cell.key, state)

    # Processes that train one network together need the leading one alone for the measures.
    measures = job.measures if is_main_process() else NOTHING
    for record in run_cells(untrained, device=job.device, measures=measures, keep=keep):
        if is_main_process():
            shelf.add(record)


def run_on_store(cells: Sequence[Cell], job: RunOptions, folder: Path) -> None:
    """Runs a task on a store's folder; fit for other processes."""
    _get_ready(job)
    run_task(cells, job, RecordStore(folder))


def run_in_memory(cells: Sequence[Cell], job: RunOptions, parcel: MemoryStore) -> MemoryStore:
    """Runs a task far from the store, and returns the results."""
    _get_ready(job)
    try:
        run_task(cells, job, parcel)
    except Exception as error:
        parcel.error = error
    return parcel


def _get_ready(job: RunOptions) -> None:
    single_thread()
    load_plugins(job.plugins)
