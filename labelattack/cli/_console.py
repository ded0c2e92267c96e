"""Console of the commands: shared options, exit codes, tables, progress."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from labelattack.errors import printable, unknown
from labelattack.progress import progress_bars as progress_bars
from labelattack.terminal import json_for

if TYPE_CHECKING:
    from rich.table import Table

    from labelattack.benchmark.store.record import Record

EXIT_FAILED_CELLS, EXIT_ERROR, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 130
_PIPED = 140  # characters of a line that no terminal shows
MANY_ROWS = 500  # rich takes more than a millisecond to lay out a row


PLUGINS = "LABELATTACK_PLUGINS"


def environment_plugins() -> list[str]:
    """Plug-in files that the environment names."""
    return [name for name in os.environ.get(PLUGINS, "").split(os.pathsep) if name]


def _and_of_environment(context: typer.Context, given: list[str] | None) -> list[str]:
    """Plug-in files of the environment, then those of the command line."""
    named = environment_plugins()
    if named and not context.resilient_parsing:
        from labelattack.registry.plugins import check_plugins

        check_plugins(named, named_by=PLUGINS)
    return [*named, *(given or ())]


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help=f"Python file to load, beside those in {PLUGINS}; repeatable.",
        callback=_and_of_environment,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")]
DScoreOption = Annotated[
    str | None,
    typer.Option(
        "--d-score",
        metavar="KEY=VALUE,...",
        help="How to measure it, e.g. grid=4,evidence=map,features=boxes; none leaves it out.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def one_of(kind: str, choices: Any) -> dict[str, Any]:
    """Makes an option of a Literal type say an unknown choice in the grammar of all errors."""
    known = get_args(choices)

    def parse(text: str) -> str:
        if text not in known:
            raise unknown(kind, text, known)
        return text

    parse.__name__ = "|".join(known)  # what --help shows as the type
    return {"parser": parse}


def stored_records(results: Path) -> list[Record]:
    """Every intact record of a store, for a command that shows something of them and ends.

    Raises:
        StoreError: If it is not a store.
    """
    from labelattack.benchmark.store.store import RecordStore

    # Looking for garbage among ten thousand living records takes longer than reading them.
    gc.disable()
    try:
        return list(RecordStore(results, create=False))
    finally:
        gc.freeze()
        gc.enable()


def load_plugins(paths: list[str] | None) -> None:
    """Runs plug-in files."""
    from labelattack.registry import plugins

    plugins.load_plugins(paths or ())


def validated(build: Callable[..., Any], **values: Any) -> Any:
    """Builds a model; a value that breaks its rule is an error in the package's grammar."""
    from labelattack.registry import parameters

    return parameters.validated(build, **values)


def print_table(
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[Any],
    *,
    lines: bool = False,
    rigid: int = 0,
) -> None:
    """Prints a table, or where it is too wide for its words, a block for each row.

    Args:
        title: Line above it.
        columns: Headings.
        rows: Cells.
        lines: Whether there are lines between the rows.
        rigid: The first so many columns do not wrap, where there is room; in one of many rows none
            does.
    """
    texts = [[printable(cell) for cell in row] for row in rows]
    if len(texts) > MANY_ROWS:
        _print_aligned(title, columns, texts)
        return
    from rich.console import Console

    from labelattack.cli._tables import column_widths, stacked, wrapped

    # Piped output is not squeezed into the 80 columns that a missing terminal is taken for.
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    screen = get_terminal_size()
    width = screen.columns if told else _PIPED
    # Between two columns are two spaces, and one is at either end.
    widths = column_widths(columns, texts, width - 2 * len(columns) - 1, rigid=rigid)
    if widths is None:
        above = [*wrapped(printable(title), width), ""]
        typer.echo("\n".join([*above, *stacked(columns, texts, width)]))
        return
    table = _table(title, columns, widths, texts, lines=lines)
    # With a height rich takes the width as it is, also on a dumb terminal.
    Console(width=width, height=screen.lines).print(table)


def _table(
    title: str,
    columns: Sequence[str],
    widths: Sequence[int],
    texts: list[list[str]],
    *,
    lines: bool,
) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(printable(title)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        show_header=any(columns),
        show_lines=lines,
        padding=(0, 1, 0, 0),
    )
    for column, characters in zip(columns, widths, strict=True):
        table.add_column(escape(column), overflow="fold", width=characters)
    for row in texts:
        table.add_row(*map(escape, row))
    return table


def _print_aligned(title: str, columns: tuple[str, ...], texts: list[list[str]]) -> None:
    from rich.cells import cell_len

    texts = [[text.replace("\n", " ") for text in row] for row in texts]
    widths = [max(map(cell_len, column)) for column in zip(columns, *texts, strict=True)]
    found = [printable(title), ""]
    for row in (list(columns), ["-" * width for width in widths], *texts):
        padded = (t + " " * (w - cell_len(t)) for t, w in zip(row, widths, strict=True))
        found.append("  ".join(padded).rstrip())
    typer.echo("\n".join([*found, ""]))


def print_json(text: str) -> None:
    """Prints JSON to standard output."""
    typer.echo(json_for(sys.stdout, text))


def say(text: str) -> None:
    """Prints to standard error, so that standard output stays data."""
    typer.echo(printable(text), err=True)
