"""Processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from labelattack.benchmark.execution.executors import register
from labelattack.benchmark.execution.executors.base import Executor, WorkerPool
from labelattack.benchmark.execution.task import RunOptions, run_on_store
from labelattack.benchmark.store.store import RecordStore
from labelattack.training.workers import worker_pool


@register("local")
class Local(Executor):
    """Processes of this machine, as many as ``--jobs`` says."""

    on_this_machine: ClassVar[bool] = True

    @contextmanager
    def open(self, jobs: int, job: RunOptions, store: RecordStore) -> Iterator[WorkerPool]:
        """See [Executor][labelattack.benchmark.execution.executors.base.Executor]."""
        with worker_pool(jobs, job.plugins) as pool:
            yield WorkerPool(pool, partial(run_on_store, job=job, folder=store.folder), jobs)
