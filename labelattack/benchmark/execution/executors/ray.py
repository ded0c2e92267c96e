"""Tasks of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from labelattack.benchmark.execution.executors import register
from labelattack.benchmark.execution.executors.base import Executor, WorkerPool, threads
from labelattack.benchmark.execution.task import MemoryStore, RunOptions, run_in_memory
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.optional import require

PASSED_ON = ("LABELATTACK_DATA", "LABELATTACK_CACHE")


@register("ray")
class Ray(Executor):
    """Tasks of a Ray cluster; results come back to this process, no folder need be shared.

    Attributes:
        address: Of a running cluster; None takes RAY_ADDRESS, a cluster that runs on this machine,
            or starts one.
        cpus: CPUs that a task reserves.
        gpus: GPUs that a task reserves; 0.25 lets four tasks share one.
        retries: How often a task is started again elsewhere when its machine dies.
        tasks: Most tasks at once; None for as many as the cluster has room for.
    """

    address: str | None = None
    cpus: NonNegativeFloat = 1.0
    gpus: NonNegativeFloat = 0.0
    retries: NonNegativeInt = 3
    tasks: PositiveInt | None = None

    @contextmanager
    def open(self, jobs: int, job: RunOptions, store: RecordStore) -> Iterator[WorkerPool]:
        """See [Executor][labelattack.benchmark.execution.executors.base.Executor]."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = require("ray", "ray")
        own = not ray.is_initialized()
        if own:
            self._connect(ray)
        remote = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries
        )(run_in_memory)  # fmt: skip
        running: set[Any] = set()

        def run(cells: Sequence[Cell]) -> None:
            task = remote.remote(cells, job, MemoryStore.of(cells, store))
            running.add(task)
            try:
                parcel = ray.get(task)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # as if it had been raised here
            except ray.exceptions.RayError as error:
                raise LabelAttackError(
                    f"a task of executor 'ray' must end within {self.retries} retries, but did "
                    f"not: {str(error).partition(chr(10))[0]}"
                ) from error
            finally:
                running.discard(task)
            parcel.unpack(store)

        def cancel() -> None:
            for task in list(running):
                ray.cancel(task)

        try:
            with threads(self._width(ray.cluster_resources()), run, cancel) as workers:
                yield workers
        finally:
            if own:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Joins a cluster, or starts one.

        Raises:
            ParameterError: If there is none at the address.
        """
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            ray.init(
                address=self.address, log_to_driver=False, logging_level="ERROR",
                runtime_env={"env_vars": passed_on},
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise ParameterError(
                f"address of executor 'ray' must be that of a running cluster, got "
                f"'{self.address}': {str(error).partition(chr(10))[0]}"
            ) from error

    def _width(self, room: Mapping[str, float]) -> int:
        """Tasks at once, as many as a cluster has room for unless there is a limit."""
        fits = [room.get("CPU", 1) / (self.cpus or 1)]
        fits += [room.get("GPU", 0) / self.gpus] if self.gpus else []
        return self.tasks or max(1, int(min(fits)))
