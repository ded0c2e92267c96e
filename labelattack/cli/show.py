"""Boards on a terminal, and the show command."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelattack.cli._console import (
    Plugins,
    load_plugins,
    one_of,
    print_json,
    print_table,
    say,
    stored_records,
)
from labelattack.cli._options import Mix, Results
from labelattack.errors import printable

if TYPE_CHECKING:
    from labelattack.benchmark.boards.leaderboard import Board
    from labelattack.benchmark.boards.row import Row
    from labelattack.benchmark.store.record import Record

Format = Literal["table", "json", "csv", "markdown"]


def show(
    results: Results,
    format: Annotated[
        Format, typer.Option(help="How to print it.", **one_of("format", Format))
    ] = "table",
    mix: Mix = None,
    plugin: Plugins = None,
) -> None:
    """Prints the leaderboards of a store, one for each thing that may not be compared.

    For example: `labelattack show results --format markdown`
    """
    load_plugins(plugin)
    print_boards(stored_records(results), format, mix or ())


def print_boards(records: list[Record], format: str, mix: Collection[Any] = ()) -> None:
    """Prints the boards of some records as a table, JSON, CSV or Markdown."""
    from labelattack.benchmark.boards.leaderboard import boards
    from labelattack.benchmark.report import tables

    found = boards(records, mix=mix)
    if format == "table":
        for board in found:
            print_board(board)
        if not found:
            say("no finished cell yet")
        return
    if format == "json":
        print_json(tables.to_json(found))
    else:
        typer.echo(tables.to_csv(found) if format == "csv" else tables.to_markdown(found))


def print_board(board: Board) -> None:
    """The columns that differ from row to row; what repeats goes below, once."""
    from labelattack.benchmark.boards.text import row_name, test_labels, title, training_labels
    from labelattack.benchmark.report.columns import headings, row_columns, texts
    from labelattack.benchmark.report.tables import remarks

    columns = row_columns(board.rows)
    seen = training_labels(board.rows)
    known = "" if seen == "full" else f"{seen} "
    lines = [dict(zip(headings(columns), texts(columns, row), strict=True)) for row in board.rows]
    marks: dict[str, str] = {}
    rules: dict[str, str] = {}
    doubts: list[str] = []
    for row, line in zip(board.rows, lines, strict=True):
        attack = line["attack"]
        for note in row.notes:
            marks.setdefault(note, "*" * (len(marks) + 1))
        line["defense"] += "".join(f" {marks[note]}" for note in row.notes)
        if doubtful := [reason for reason in row.unreliable if "fewer than" not in reason]:
            line["defense"] += " !"
            doubts.append(f"! {attack}, {row_name(row)}: {'; '.join(doubtful)}")
        line["attack"] = "" if attack in rules else attack
        rules.setdefault(attack, _removal(row, line, known, board.labels.replace(" | ", " or ")))
    filled = [c for c in columns if any(line[c.heading] != "-" for line in lines)]
    wide = any(column.wide for column in filled)
    kept = [
        column
        for column in columns
        if column.on_terminal
        and (column.heading in ("attack", "defense") or column in filled)
        and not (wide and column.gives_way)
    ]
    print_table(
        title(board),
        tuple(headings(kept)),
        [[line[column.heading] for column in kept] for line in lines],
        rigid=sum(column.rigid for column in kept),
    )
    _print_curves(board, seen)
    typer.echo(
        f"mAP in points on {test_labels(board.rows)} test labels, mean ± 95 % t-interval over "
        "seeds, differences paired."
    )
    _print_legends(board, wide=wide)
    for remark in (*remarks(board), *(f"{mark} {note}" for note, mark in marks.items()), *doubts):
        typer.echo(printable(remark))
    for attack, rule in rules.items():
        typer.echo(printable(f"{attack}: {rule}"))


def _removal(row: Row, line: Mapping[str, str], known: str, lost: str) -> str:
    """Sentence on what an attack removed or changed, and on how epochs and recipes were chosen."""
    from labelattack.training.validation import choice_text

    return (
        f"{line['positives lost']} of the {known}positives and {line['labels lost']} of all "
        f"{known}labels {lost}; {choice_text(row.selection_rule)}"
    )


def _print_curves(board: Board, seen: str) -> None:
    from labelattack.benchmark.report.columns import CURVE_COLUMNS, headings, texts

    if board.curves:
        print_table(
            "robustness to label removal",
            tuple(headings(CURVE_COLUMNS)),
            [texts(CURVE_COLUMNS, curve) for curve in board.curves],
        )
        typer.echo(
            f"area: mAP relative to {seen} labels, mean over rates from 0; 1 = nothing lost."
        )


def _print_legends(board: Board, *, wide: bool) -> None:
    from labelattack.measures.request import taken_measures

    for name, cls in taken_measures().items():
        if any(name in row.measured for row in board.rows) and (text := cls.legend(wide=wide)):
            typer.echo(text)
