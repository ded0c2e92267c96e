"""Where the tasks of a grid run: processes of this machine, a Ray cluster, or Slurm."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt

from labelattack.benchmark.extras import extra
from labelattack.benchmark.grid import Cell
from labelattack.benchmark.store import RecordStore
from labelattack.benchmark.tasks import Job, Parcel, run_on_parcel, run_on_store
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.registry import Spec, settings
from labelattack.training.workers import worker_pool

PASSED_ON = ("LABELATTACK_DATA", "LABELATTACK_CACHE")


class Local(BaseModel):
    """Processes of this machine, as many as ``--jobs`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @contextmanager
    def open(self, jobs: int, job: Job, store: RecordStore) -> Iterator[Lanes]:
        """See [Lanes][labelattack.benchmark.executors.Lanes]."""
        with worker_pool(jobs, job.plugins) as pool:
            yield Lanes(pool, partial(run_on_store, job=job, folder=store.folder), jobs)


class Ray(BaseModel):
    """Tasks of a Ray cluster; results come back to this process, no folder need be shared.

    Attributes:
        address: Of a running cluster; None takes RAY_ADDRESS, a cluster that runs on this machine,
            or starts one.
        cpus: CPUs that a task reserves.
        gpus: GPUs that a task reserves; 0.25 lets four tasks share one.
        retries: How often a task is started again elsewhere when its machine dies.
        tasks: Most tasks at once; None for as many as the cluster has room for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = None
    cpus: NonNegativeFloat = 1.0
    gpus: NonNegativeFloat = 0.0
    retries: NonNegativeInt = 3
    tasks: PositiveInt | None = None

    @contextmanager
    def open(self, jobs: int, job: Job, store: RecordStore) -> Iterator[Lanes]:
        """See [Lanes][labelattack.benchmark.executors.Lanes]."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = extra("ray", "ray")
        own = not ray.is_initialized()
        if own:
            told = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            try:
                ray.init(
                    address=self.address, log_to_driver=False, logging_level="ERROR",
                    runtime_env={"env_vars": told},
                )  # fmt: skip
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                raise ParameterError(
                    f"address of executor 'ray' must be that of a running cluster, got "
                    f"'{self.address}': {str(error).partition(chr(10))[0]}"
                ) from error
        remote = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries
        )(run_on_parcel)  # fmt: skip
        running: set[Any] = set()

        def run(cells: Sequence[Cell]) -> None:
            task = remote.remote(cells, job, Parcel.of(cells, store))
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

        room = ray.cluster_resources()
        fits = [room.get("CPU", 1) / (self.cpus or 1)]
        fits += [room.get("GPU", 0) / self.gpus] if self.gpus else []
        width = self.tasks or max(1, int(min(fits)))

        def cancel() -> None:
            for task in list(running):
                ray.cancel(task)

        try:
            with _threads(width, run, cancel) as lanes:
                yield lanes
        finally:
            if own:
                ray.shutdown()


class Slurm(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str | None = None
    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: PositiveInt = 8
    minutes: PositiveInt = 60
    tasks: PositiveInt = 8
    cluster: Literal["slurm", "local"] = "slurm"

    @contextmanager
    def open(self, jobs: int, job: Job, store: RecordStore) -> Iterator[Lanes]:
        """See [Lanes][labelattack.benchmark.executors.Lanes]."""
        submitit = extra("submitit", "slurm")
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

        with _threads(self.tasks, run, left.set) as lanes:
            yield lanes


Settings = Local | Ray | Slurm
KINDS: dict[str, type[Settings]] = {"local": Local, "ray": Ray, "slurm": Slurm}


@dataclass(frozen=True)
class Lanes:
    """Where tasks are handed in.

    Attributes:
        pool: Takes ``run`` with a group of cells; what it returns is done when records are stored.
        run: Runs a group.
        width: How many run at once.
    """

    pool: Executor
    run: Callable[[Sequence[Cell]], None]
    width: int


def executor(text: str) -> Settings:
    """Reads what ``--executor`` takes, such as ``ray:gpus=0.25``.

    Raises:
        UnknownNameError: If there is no such executor or setting.
        ParameterError: If a value breaks its rule.
    """
    return settings("executor", Spec.parse(text), KINDS)


@contextmanager
def _threads(
    width: int, run: Callable[[Sequence[Cell]], None], cancel: Callable[[], None]
) -> Iterator[Lanes]:
    """A thread for each task that is far away; leaving with an exception cancels those."""
    with ThreadPoolExecutor(width) as pool:
        try:
            yield Lanes(pool, run, width)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            cancel()
            raise
