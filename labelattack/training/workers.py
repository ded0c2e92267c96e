"""Processes that compute: one thread each, and gone when their parent is."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from labelattack.errors import LabelAttackError
from labelattack.registry import load_plugin
from labelattack.training.device import single_thread

T = TypeVar("T")


@contextmanager
def worker_pool(jobs: int, plugins: tuple[str, ...]) -> Iterator[Executor]:
    """Opens ``jobs`` processes that have loaded the plug-ins; one job runs in this process.

    Leaving with an exception, an interrupt included, ends the processes at once.
    """
    if jobs <= 1:
        yield _Inline()
        return
    pool = _Processes(
        jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(plugins,)
    )
    try:
        yield pool
    except BaseException as error:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise LabelAttackError(
                "a worker process must not die, but one did, perhaps for want of memory; what is "
                "finished is stored: run the same command again, with fewer --jobs"
            ) from error
        raise
    pool.shutdown()


def in_order(
    workers: Executor, call: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int
) -> Iterator[T]:
    """Results in the order of the tasks; no more than ``ahead`` are begun and not yet taken.

    Args:
        workers: Who works.
        call: What to do; it must pickle.
        tasks: Its arguments.
        ahead: Bounds what waits in memory, should the first of them take long.

    Raises:
        Exception: What a task raised, when it is its turn.
    """
    begun: deque[Future[T]] = deque()
    for task in tasks:
        if len(begun) == ahead:
            yield begun.popleft().result()
        begun.append(workers.submit(call, *task))
    while begun:
        yield begun.popleft().result()


class _Ended(SystemExit):
    """Ends a process by way of every ``finally``, as the default action of SIGTERM would not."""


class _Processes(ProcessPoolExecutor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_until_ended, fn, *args, **kwargs)


def _until_ended(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except _Ended:
        os._exit(1)  # raised further, it would be a task's outcome, and the next task would start


def _end(*_: object) -> None:
    # Who ends a process may say so twice; what it tidies up is not to be interrupted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Ended


class _Inline(Executor):
    """Runs each task when it is submitted, in this process."""

    def __init__(self) -> None:
        single_thread()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _start(plugins: tuple[str, ...]) -> None:
    # The parent decides what an interrupt means, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    single_thread()
    for path in plugins:
        load_plugin(path)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
