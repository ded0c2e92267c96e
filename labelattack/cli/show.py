"""Boards on a terminal, and the show command."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelattack.cli._console import one_of, print_json, print_table, say, stored_records
from labelattack.cli._options import Mix, Results
from labelattack.errors import printable

if TYPE_CHECKING:
    from labelattack.benchmark.boards.leaderboard import Board
    from labelattack.benchmark.store.record import Record

# What a terminal has no room for beside the columns of changed pixels; every other format has it.
_TOO_MANY = ("robustness", "fitness", "lr")
Format = Literal["table", "json", "csv", "markdown"]


def show(
    results: Results,
    format: Annotated[
        Format, typer.Option(help="How to print it.", **one_of("format", Format))
    ] = "table",
    mix: Mix = None,
) -> None:
    """Prints the leaderboards of a store, one for each thing that may not be compared."""
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
    from labelattack.benchmark.boards.text import row_name, title
    from labelattack.benchmark.report.tables import (
        COLUMNS,
        CURVE_COLUMNS,
        cells_of,
        curve_cells,
        remarks,
    )
    from labelattack.training.validation import choice_text

    marks: dict[str, str] = {}
    rules: dict[str, str] = {}
    doubts: list[str] = []
    rows = []
    for row in board.rows:
        attack, defense, *numbers, positives, everything, seeds, lr, _, _ = cells_of(row)
        for note in row.notes:
            marks.setdefault(note, "*" * (len(marks) + 1))
        defense += "".join(f" {marks[note]}" for note in row.notes)
        if doubtful := [reason for reason in row.unreliable if "fewer than" not in reason]:
            defense += " !"
            doubts.append(f"! {attack}, {row_name(row)}: {'; '.join(doubtful)}")
        rows.append(("" if attack in rules else attack, defense, *numbers, seeds, lr))
        rules.setdefault(
            attack,
            f"{positives} of the positives and {everything} of all labels removed; "
            f"{choice_text(row.selection_rule)}",
        )
    columns = (*COLUMNS[:11], *COLUMNS[13:15])
    pixels = any(row.evasion or row.corruption for row in board.rows)
    told = [
        n
        for n, name in enumerate(columns)
        if n < 2 or (any(row[n] != "-" for row in rows) and not (pixels and name in _TOO_MANY))
    ]
    print_table(
        title(board),
        tuple(columns[n] for n in told),
        [[row[n] for n in told] for row in rows],
        rigid=sum(n < 10 for n in told),
    )
    if board.curves:
        print_table("robustness to label removal", CURVE_COLUMNS, map(curve_cells, board.curves))
        typer.echo("area: mAP relative to full labels, mean over rates from 0; 1 = nothing lost.")
    typer.echo(
        "mAP in points on clean test labels, mean ± 95 % t-interval over seeds, differences paired."
    )
    if any(row.d_score is not None for row in board.rows):
        typer.echo(
            "robustness: lower is better; fitness and D-Score: higher is better. They say where "
            "the model looks." + " Its parts: show --format markdown." * pixels
        )
    for line in (*remarks(board), *(f"{mark} {note}" for note, mark in marks.items()), *doubts):
        typer.echo(printable(line))
    for attack, rule in rules.items():
        typer.echo(printable(f"{attack}: {rule}"))
