"""Boards for notebooks: HTML tables, and rows of data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import title
from labelattack.benchmark.report.columns import CURVE_COLUMNS, headings, row_columns, texts
from labelattack.benchmark.report.tables import remarks, to_csv
from labelattack.errors import printable
from labelattack.measures import registry
from labelattack.measures._perturbed import PerturbedSummary

Table = tuple[Sequence[str], list[list[str]]]
_NAMES = 2  # columns in front that hold names; the others hold numbers


def boards_to_html(boards: Sequence[Board]) -> str:
    """Boards as HTML tables without a style sheet, script or link; names are escaped."""
    return "\n".join(_board(board) for board in boards) or "<p>no finished cell yet</p>"


def wide_rows(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """A dictionary a board row, with the fields of the CSV format.

    Numbers stay numbers; lists and mappings are written as in the CSV.
    """
    lines = csv.DictReader(io.StringIO(to_csv(list(boards))))
    rows = [(board, row) for board in boards for row in board.rows]
    return [
        {name: _scalar(board, row, name, text) for name, text in line.items()}
        for line, (board, row) in zip(lines, rows, strict=True)
    ]


def long_rows(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """A dictionary a board row and metric, with the half-width of the metric's 95 % interval."""
    return [
        {
            "dataset": board.dataset,
            **({"limit": board.limit} if board.limit else {}),
            "model": board.model,
            "protocol": board.protocol,
            "epochs": board.epochs,
            "selection": board.selection,
            "attack": row.attack,
            "defense": row.defense,
            "variant": row.variant,
            "rate": row.requested_rate,
            "seeds": row.seeds,
            "metric": metric,
            "value": value,
            "interval": interval,
        }
        for board in boards
        for row in board.rows
        for metric, value, interval in metrics_of(row)
    ]


def metrics_of(row: Row) -> Iterator[tuple[str, float, float | None]]:
    """Name, mean and half-width of the interval of each metric that a row has."""
    found: list[tuple[str, float | None, float | None]] = [
        ("map", row.map, row.interval),
        ("to_reference", row.to_reference, row.to_reference_interval),
    ]
    for name, summary in row.measured.items():
        for metric in registry.get(name).metrics:
            if (of := summary.metric(metric.name)) is not None:
                found.append((metric.name, of.mean, of.interval))
        if isinstance(summary, PerturbedSummary):
            found.append((f"{name}_kept", summary.kept, summary.kept_interval))
    for name, value, interval in found:
        if value is not None:
            yield name, value, interval


def _scalar(board: Board, row: Row, name: str, text: str) -> Any:
    value = getattr(row if hasattr(row, name) else board, name, text)
    return value if isinstance(value, str | int | float | None) else text


def _board(board: Board) -> str:
    columns = row_columns(board.rows)
    tables: list[Table] = [(headings(columns), [texts(columns, row) for row in board.rows])]
    if board.curves:
        curves = [texts(CURVE_COLUMNS, curve) for curve in board.curves]
        tables.append((headings(CURVE_COLUMNS), curves))
    lines = "<br>".join(_text(remark) for remark in remarks(board))
    return (
        f"<p><strong>{_text(title(board))}</strong></p>\n"
        + "\n".join(map(_table, tables))
        + f"\n<p><small>{lines}</small></p>"
    )


def _table(table: Table) -> str:
    """A table without the columns that say nothing of any row."""
    columns, rows = table
    kept = [n for n in range(len(columns)) if n < _NAMES or any(row[n] not in "-" for row in rows)]
    head = "".join(f"<th{_aligned(n)}>{_text(columns[n])}</th>" for n in kept)
    body = "\n".join(
        "<tr>" + "".join(f"<td{_aligned(n)}>{_text(row[n])}</td>" for n in kept) + "</tr>"
        for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _aligned(column: int) -> str:
    return ' style="text-align: left"' if column < _NAMES else ""


def _text(text: str) -> str:
    return escape(printable(text))
