"""Contract of an executor, and the worker pool that it opens."""

from __future__ import annotations

import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.store import RecordStore


@dataclass(frozen=True)
class WorkerPool:
    """Workers that take groups of cells.

    Attributes:
        pool: Takes ``run`` with a group of cells; its future is done when the records are stored.
        run: Runs a group.
        width: How many groups run at once.
    """

    pool: concurrent.futures.Executor
    run: Callable[[Sequence[Cell]], None]
    width: int


class Executor(BaseModel, ABC):
    """Where tasks run; its fields are the settings of its spec, such as ``ray:gpus=0.25``.

    Attributes:
        on_this_machine: Whether tasks run on this machine, so that its caches, weights files and
            devices are theirs too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_this_machine: ClassVar[bool] = False

    @abstractmethod
    def open(
        self, jobs: int, options: RunOptions, store: RecordStore
    ) -> AbstractContextManager[WorkerPool]:
        """Opens workers; leaving with an exception cancels what they have not begun.

        Args:
            jobs: Processes wanted of this machine; executors on other machines ignore it.
            options: Options shared by all tasks.
            store: Store of the records.
        """


@contextmanager
def threads(
    width: int, run: Callable[[Sequence[Cell]], None], cancel: Callable[[], None]
) -> Iterator[WorkerPool]:
    """A thread for each task on another machine; leaving with an exception cancels those.

    Args:
        width: Tasks at once.
        run: Runs a group of cells and waits for it.
        cancel: Cancels tasks that run.
    """
    with ThreadPoolExecutor(width) as pool:
        try:
            yield WorkerPool(pool, run, width)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            cancel()
            raise
