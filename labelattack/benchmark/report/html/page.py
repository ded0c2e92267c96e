"""The page: what it says of a store, and how that becomes one file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board, Mixable, boards_with_records
from labelattack.benchmark.boards.text import row_name, test_labels, title_parts, training_labels
from labelattack.benchmark.plan.grid import REFERENCE
from labelattack.benchmark.report.certified_plot import (
    attacked_points,
    certificate_of,
    certified_rows,
)
from labelattack.benchmark.report.columns import (
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    headings,
    row_columns,
    texts,
)
from labelattack.benchmark.report.heat_map import heat_map
from labelattack.benchmark.report.html.document import document, embedded
from labelattack.benchmark.report.html.label_samples import LabelSample, label_samples
from labelattack.benchmark.report.html.provenance import failures, provenance_of
from labelattack.benchmark.report.tables import remarks
from labelattack.benchmark.store.record import Record
from labelattack.files.storage import saved
from labelattack.measures.summary import Column
from labelattack.optional import require

SCRIPTS = (
    "basics.js",
    "table.js",
    "pictures.js",
    "curves.js",
    "certified.js",
    "heat_map.js",
    "labels.js",
    "page.js",
)

HEADING = 60
"""Largest number of characters of a spec that a heading shows with its paths."""


def write_report(
    out: Path, name: str, records: Iterable[Record], *, mix: Collection[Mixable] = ()
) -> None:
    """Writes the report of some records.

    Args:
        out: The file.
        name: What the page calls the store.
        records: Finished and failed records, in any order.
        mix: What may differ within one board all the same.

    Raises:
        LabelAttackError: If what the extra ``report`` brings is not installed.
        UnknownNameError: If something else is to be mixed.
        StoreError: If the file cannot be written.
    """
    require("jinja2", "report"), require("plotly", "report")  # before the work, not after
    sections = [
        section(board, own, label_samples(own))
        for board, own in boards_with_records(records, mix=mix)
    ]
    text = render(name, sections)
    with saved(out, "report") as part:
        part.write_bytes(text.encode())


def section(
    board: Board, records: Sequence[Record], pictured: Sequence[LabelSample]
) -> dict[str, Any]:
    """Data of one board's section of the page, plain values only.

    Args:
        board: The board.
        records: The records it sums up.
        pictured: What attacks leave of some labels.
    """
    rate_of = {
        record.cell.attack.partition(":")[0]: record.removal.rate_of
        for record in records
        if record.removal is not None
    }
    references = [
        number
        for number, row in enumerate(board.rows)
        if (row.attack, row.defense) == ("none", REFERENCE) and row.map is not None
    ]
    dataset, *settings = title_parts(board)
    return {
        "dataset": dataset,
        "brief": _brief(dataset),
        "settings": " · ".join(settings),
        "remarks": remarks(board),
        "board": board.model_dump(include={"rows", "curves", "comparisons"}),
        # A board of several settings has no one reference to draw.
        "reference": references[0] if len(references) == 1 else None,
        "training_labels": training_labels(board.rows),
        "test_labels": test_labels(board.rows),
        "rows": _table(row_columns(board.rows), board.rows),
        "heat": heat_map(board),
        "curves": _table(CURVE_COLUMNS, board.curves),
        "families": [
            {
                "attack": attacks.short(curve.attack, keep=()),
                "name": row_name(curve),
                "share": rate_of.get(curve.attack.partition(":")[0], "labels"),
            }
            for curve in board.curves
        ],
        "certified": _certified(board),
        "comparisons": _table(COMPARISON_COLUMNS, board.comparisons),
        "excerpts": list(pictured),
        "origins": provenance_of(board, records),
        "failures": failures(records),
        "scored": _has(board, "d-score", "d_score"),
        "dropped": _has(board, "class-drops", "worst_drop"),
    }


def render(name: str, sections: Sequence[dict[str, Any]]) -> str:
    """Makes the page.

    Args:
        name: What it calls the store.
        sections: See [section][labelattack.benchmark.report.html.page.section].

    Returns:
        See [document][labelattack.benchmark.report.html.document.document].
    """
    return document(
        "template.html.j2",
        SCRIPTS,
        plotly=require("plotly.offline", "report").get_plotlyjs(),
        name=name,
        sections=[{**each, "data": embedded(each)} for each in sections],
    )


def _certified(board: Board) -> dict[str, Any] | None:
    """Certified mAP of a board's rows, and what attacks took; None if there is none."""
    found = [
        {"row": number, "curve": of.curve, "intervals": of.intervals}
        for number, row in enumerate(board.rows)
        if (of := certificate_of(row)) is not None
    ]
    if not found:
        return None
    attacked = [
        {
            "name": texts(row_columns(board.rows), points.rows[0])[1],
            "attack": points.attack,
            "images": points.images,
            "maps": [row.map for row in points.rows],
            "intervals": [row.interval for row in points.rows],
        }
        for points in attacked_points(board)
    ]
    (_, first), *_ = certified_rows(board)
    return {"rows": found, "attacked": attacked, "chance": first.chance}


def _brief(spec: str) -> str:
    """A spec whose paths are cut to their last parts if it is too long for a heading."""
    return spec if len(spec) <= HEADING else re.sub(r"(?<==)[^,=|]*[/\\](?=[^,/\\|])", "…/", spec)


def _has(board: Board, measure: str, name: str) -> bool:
    """Whether a row of a board has a value of a metric."""
    found = (row.metric(measure, name) for row in board.rows)
    return any(metric and metric.mean is not None for metric in found)


def _table(columns: Sequence[Column], items: Iterable[Any]) -> dict[str, Any]:
    return {
        "columns": headings(columns),
        "fields": [column.field for column in columns],
        "numeric": [column.numeric for column in columns],
        "cells": [texts(columns, item) for item in items],
    }
