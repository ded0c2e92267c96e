"""Jobs of a Slurm cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from labelattack.benchmark.execution.executors import register
from labelattack.benchmark.execution.executors.base import Executor, WorkerPool, threads
from labelattack.benchmark.execution.task import RunOptions, run_on_store
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.optional import require


@register("slurm")
class Slurm(Executor):
    """Jobs of a Slurm cluster, by submitit; all machines share the store's folder.

    Attributes:
        partition: Slurm's partition; None for the default one.
        cpus: CPUs of each job.
        gpus: GPUs of each job.
        memory: GiB of each job.
        minutes: Time limit of each job.
        tasks: Most jobs at once.
        cluster: ``slurm``; ``local`` runs the same in processes of this machine, to try it out.
    """

    partition: str | None = None
    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: PositiveInt = 8
    minutes: PositiveInt = 60
    tasks: PositiveInt = 8
    cluster: Literal["slurm", "local"] = "slurm"

    @contextmanager
    def open(self, jobs: int, job: RunOptions, store: RecordStore) -> Iterator[WorkerPool]:
        """See [Executor][labelattack.benchmark.execution.executors.base.Executor]."""
        submitit = require("submitit", "slurm")
        folder = store.folder.resolve()
        # Beside the store and for nobody else: submitit exchanges pickles, a store holds none.
        exchange = folder.with_name(f".{folder.name}-slurm")
        exchange.mkdir(mode=0o700, exist_ok=True)
        try:
            executor = submitit.AutoExecutor(exchange, cluster=self.cluster)
        except RuntimeError as error:
            raise ParameterError(
                f"executor 'slurm' must run where sbatch is, got: {error}"
            ) from error
        executor.update_parameters(
            name="labelattack", cpus_per_task=self.cpus, gpus_per_node=self.gpus,
            mem_gb=self.memory, timeout_min=self.minutes,
            **({"slurm_partition": self.partition} if self.partition else {}),
        )  # fmt: skip
        lost = submitit.core.utils.UncompletedJobError
        left = Event()

        def run(cells: Sequence[Cell]) -> None:
            try:
                task = executor.submit(run_on_store, cells, job, folder)
            except lost as refusal:
                reason = str(refusal).partition("\n")[0]
                raise ParameterError(
                    f"executor 'slurm' must ask for what sbatch grants, got: {reason}"
                ) from refusal
            while not task.done():
                if left.wait(1):
                    task.cancel()  # and wait no longer: Slurm may never tell what became of it
                    return
            try:
                error = task.exception()
            except lost as ended:
                error = ended
            if error is not None:
                raised = re.findall(r"^(?:[\w.]+\.)?\w+(?:Error|Exception): .*", str(error), re.M)
                reason = raised[-1] if raised else " ".join(str(error).splitlines()[:2])
                raise LabelAttackError(
                    f"a job of executor 'slurm' must end well, but job {task.job_id} did not: "
                    f"{reason} (its output is in '{exchange}')"
                )

        with threads(self.tasks, run, left.set) as workers:
            yield workers
