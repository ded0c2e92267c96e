"""Processes that compute: one thread each, and gone when their parent is."""

from __future__ import annotations

import ast
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, current_process, get_context, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from labelattack.errors import LabelAttackError
from labelattack.files.storage import is_file
from labelattack.registry.plugins import load_plugin
from labelattack.registry.registry import components_of_main
from labelattack.terminal import LogLines, start_log
from labelattack.training.hardware import single_thread

T = TypeVar("T")


@contextmanager
def worker_pool(jobs: int, plugins: tuple[str, ...]) -> Iterator[Executor]:
    """Opens ``jobs`` processes that have loaded the plug-ins; one job runs in this process.

    Leaving with an exception, an interrupt included, ends the processes at once.

    Raises:
        LabelAttackError: If processes started here could not know a component, or one dies.
    """
    if jobs <= 1:
        yield _Inline()
        return
    pool = _Processes(
        jobs, mp_context=spawn_context(), initializer=_start, initargs=(plugins, _shown_level())
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
                "a worker process must not die, but one did, perhaps for want of memory or because "
                "it could not import the main script; what is finished is stored: run the same "
                "command again, with fewer --jobs"
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


def require_main_process() -> None:
    """Refuses to start work while a process that is just starting imports the main script.

    Raises:
        LabelAttackError: If this is such a process.
    """
    if getattr(current_process(), "_inheriting", False):
        raise LabelAttackError(f"the main script {_GUARD}, as every process imports it")


_GUARD = "must start its work under \"if __name__ == '__main__':\""


def spawn_context() -> SpawnContext:
    """Start method of processes: they import the main script only if it is fit for that.

    Raises:
        LabelAttackError: If it is not, but defines components that they need.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file and is_file(Path(file)) and _is_guarded(Path(file)):
        return get_context("spawn")
    own = components_of_main()
    if own:
        what = f"{own[0]} must be in a plug-in file, not in a notebook or on standard input,"
        if file and is_file(Path(file)):
            what = f"the main script '{file}', which defines {own[0]}, {_GUARD}"
        raise LabelAttackError(f"{what} to be known to other processes; or use one job")
    return _WithoutMain()


def _is_guarded(path: Path) -> bool:
    """Whether a script asks for its name, as one does that others may import."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # an archive, or a program that is no script
        return False
    names = (n for part in tree.body if isinstance(part, ast.If) for n in ast.walk(part.test))
    return any(isinstance(name, ast.Name) and name.id == "__name__" for name in names)


class _ProcessWithoutMain(SpawnProcess):
    """A process that does not import the main script of its parent."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # multiprocessing's name
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _WithoutMain(SpawnContext):
    Process = _ProcessWithoutMain


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


def _shown_level() -> int | None:
    """Level from which this process shows log lines on standard error; None if it shows none."""
    logger = logging.getLogger("labelattack")
    shows = any(isinstance(handler, LogLines) for handler in logger.handlers)
    return logger.level if shows else None


def _start(plugins: tuple[str, ...], level: int | None) -> None:
    # The parent decides what an interrupt means, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    single_thread()
    if level is not None:
        start_log(level)
    for path in plugins:
        load_plugin(path)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
