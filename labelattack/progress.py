"""Progress bars on standard error, for the command line and for notebooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labelattack.errors import printable


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars with the time left; in a notebook, a line of text that is written over.

    Args:
        quiet: Whether nothing is shown.
    """
    # A notebook has no terminal to steer, and rich's own support needs widgets that may be absent.
    if not quiet and "ipykernel" in sys.modules:
        yield _write_line
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    tasks: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("elapsed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    bars = Progress(*columns, console=Console(stderr=True), disable=quiet)

    def update(what: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()  # not before, as an error would then follow an empty line
        if what not in tasks:
            tasks[what] = bars.add_task(printable(what), total=total)
        bars.update(tasks[what], completed=done)

    try:
        yield update
    finally:
        if tasks:
            bars.stop()


def _write_line(what: str, done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\r{printable(what)}: {done} of {total}{end}")
    sys.stderr.flush()
