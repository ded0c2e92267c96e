"""The page: what it says of a store, and how that becomes one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board, Mixable, boards_with_records
from labelattack.benchmark.boards.text import row_name, test_labels, title, training_labels
from labelattack.benchmark.plan.grid import REFERENCE
from labelattack.benchmark.report.columns import (
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    headings,
    row_columns,
    texts,
)
from labelattack.benchmark.report.html.label_samples import LabelSample, label_samples
from labelattack.benchmark.report.html.provenance import failures, provenance_of
from labelattack.benchmark.report.tables import remarks
from labelattack.benchmark.store.record import Record
from labelattack.files.storage import saved
from labelattack.measures.summary import Column
from labelattack.optional import require

SCRIPTS = ("basics.js", "table.js", "pictures.js", "page.js")


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
    return {
        "title": title(board),
        "remarks": remarks(board),
        "board": board.model_dump(include={"rows", "curves", "comparisons"}),
        # A board of several settings has no one reference to draw.
        "reference": references[0] if len(references) == 1 else None,
        "training_labels": training_labels(board.rows),
        "test_labels": test_labels(board.rows),
        "rows": _table(row_columns(board.rows), board.rows),
        "curves": _table(CURVE_COLUMNS, board.curves),
        "families": [
            {
                "attack": attacks.short(curve.attack, keep=()),
                "name": row_name(curve),
                "share": rate_of.get(curve.attack.partition(":")[0], "labels"),
            }
            for curve in board.curves
        ],
        "comparisons": _table(COMPARISON_COLUMNS, board.comparisons),
        "excerpts": list(pictured),
        "origins": provenance_of(board, records),
        "failures": failures(records),
        "scored": any(
            (of := row.metric("d-score", "d_score")) and of.mean is not None for row in board.rows
        ),
        "dropped": any(
            (of := row.metric("class-drops", "worst_drop")) and of.mean is not None
            for row in board.rows
        ),
    }


def render(name: str, sections: Sequence[dict[str, Any]]) -> str:
    """Makes the page.

    Args:
        name: What it calls the store.
        sections: See [section][labelattack.benchmark.report.html.page.section].

    Returns:
        HTML that needs nothing else. Every name in it is text, whatever it holds: the template
        escapes, data cannot end their element, and only the page's own scripts, by their hashes,
        may run.
    """
    jinja2 = require("jinja2", "report")
    plotly = require("plotly.offline", "report").get_plotlyjs()
    parts = files(__package__)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    script = "\n".join((parts / part).read_text(encoding="utf-8") for part in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    template = environment.from_string((parts / "template.html.j2").read_text(encoding="utf-8"))
    markup = require("markupsafe", "report").Markup
    html: str = template.render(
        name=name,
        version=version("labelattack"),
        sections=[
            {**each, "data": markup(inert(to_json(each, inf_nan_mode="null").decode()))}
            for each in sections
        ],
        style=markup((parts / "style.css").read_text(encoding="utf-8")),
        script=markup(script),
        plotly=markup(plotly),
        policy="; ".join([
            "default-src 'none'",
            f"script-src '{_hash(script)}' '{_hash(plotly)}'",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]),
    )  # fmt: skip
    return html


def inert(json: str) -> str:
    """JSON that can stand in a script element: nothing in it looks like markup."""
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return json


def _table(columns: Sequence[Column], items: Iterable[Any]) -> dict[str, Any]:
    return {
        "columns": headings(columns),
        "fields": [column.field for column in columns],
        "numeric": [column.numeric for column in columns],
        "cells": [texts(columns, item) for item in items],
    }


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
