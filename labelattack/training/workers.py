"""Processes that compute: one thread each, and gone when their parent is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any

from labelattack.errors import LabelAttackError
from labelattack.registry import load_plugin
from labelattack.training.device import single_thread


@contextmanager
def worker_pool(jobs: int, plugins: tuple[str, ...]) -> Iterator[Executor]:
    """Opens ``jobs`` processes that have loaded the plug-ins; one job runs in this process.

    Leaving with an exception, an interrupt included, ends the processes at once.
    """
    if jobs <= 1:
        yield _Inline()
        return
    pool = ProcessPoolExecutor(
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
    import signal

    # The parent decides what an interrupt means, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    single_thread()
    for path in plugins:
        load_plugin(path)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
