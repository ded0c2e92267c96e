"""Boards as text: JSON, CSV, Markdown, and the cells that people read."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.keys import DEVICE
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.ranking import ALONE, LEVEL
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import title
from labelattack.benchmark.report.columns import (
    CURVE_COLUMNS,
    headings,
    row_columns,
    texts,
)
from labelattack.defenses import registry as defenses
from labelattack.measures.request import taken_measures
from labelattack.measures.summary import Column

_MANY = ("rows", "curves", "comparisons", "unranked", "libraries")


def to_json(found: list[Board]) -> str:
    """Boards as a JSON array."""
    return "[" + ",\n".join(board.model_dump_json(indent=1) for board in found) + "]"


def to_csv(found: list[Board]) -> str:
    """One line a row, with what tells the boards apart in front."""
    text = io.StringIO()
    about = [
        name
        for name, field in Board.model_fields.items()
        if name not in _MANY
        and (field.is_required() or any(getattr(b, name) != field.default for b in found))
    ]
    lines = [(board, flat_row(row)) for board in found for row in board.rows]
    columns = dict.fromkeys(name for _, line in lines for name in line) or Row.model_fields
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*about, *columns])
    for board, line in lines:
        head = [_flat(getattr(board, name)) for name in about]
        writer.writerow(head + [_flat(line.get(name)) for name in columns])
    return text.getvalue()


def flat_row(row: Row) -> dict[str, Any]:
    """A row as one line of a table: a column each field, and each number of a measure."""
    values = row.model_dump()
    for summary in values.pop("measures", {}).values():
        for name, metric in summary.get("metrics", {}).items():
            values[name] = metric["mean"]
            values |= {f"{name}_{key}": value for key, value in metric.items() if key != "mean"}
    return values


def _flat(value: object) -> object:
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if item is not None}
        return "; ".join(f"{key}={item}" for key, item in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


def remarks(board: Board) -> list[str]:
    """Remarks on a board beside its numbers."""
    found = [*_gaps(board), *_trials(board)]
    ranked = {row.attack for row in board.rows if row.rank}
    if ranked:
        found.append(
            "rank: rank range not excluded by paired t-tests over seeds, Holm-corrected over the "
            f"pairs of an attack at {100 * LEVEL:g} %"
        )
    found += sorted(
        {
            f"under {attacks.short(attack)}, {reason}"
            if attack in ranked
            else f"not ranked: {reason}"
            for attack, reason in board.unranked.items()
            if reason != ALONE
        }
    )
    for name, cls in taken_measures().items():
        summaries = [row.measured[name] for row in board.rows if name in row.measured]
        found += cls.remarks(summaries) if summaries else []
    if undefined := max((row.undefined_classes for row in board.rows), default=0):
        classes = "class" if undefined == 1 else "classes"
        names = sorted({name for row in board.rows for name in row.left_out})
        named = f": {_first(names)}" if names else ""
        found.append(
            f"mAP leaves out {undefined} {classes} without a positive or without a negative in "
            f"test{named}"
        )
    if saturated := sorted({name for row in board.rows for name in row.saturated_classes}):
        found.append(
            f"mAP counts {', '.join(saturated)} with the AP of 1 that any model has on a class "
            "without a negative in test"
        )
    several = {name: " and ".join(v) for name, v in board.libraries.items() if len(v) > 1}
    if devices := several.pop(DEVICE, ""):
        found.append(f"computed on several devices, which round otherwise: {devices}")
    found += [f"computed with several versions of {name}: {v}" for name, v in several.items()]
    return found


_GAPS = {
    "known_share": "{:.3g} % of the training labels are known to begin with: attacks act on these, "
    "removed shares are of these, and the reference sees all of these",
    "counted_share": "mAP counts the {:.3g} % of the test labels that are known",
    "assumed_share": "no negative is known in test: mAP counts the unknown {:.3g} % of its labels "
    "as negatives; do not compare it with mAP on complete labels",
}


def _gaps(board: Board) -> list[str]:
    """Remarks on labels that are not known to begin with."""
    shares = {name: [getattr(row, name) for row in board.rows] for name in _GAPS}
    known = {name: [s for s in of if s is not None] for name, of in shares.items()}
    return [_GAPS[name].format(100 * of[0]) for name, of in known.items() if of]


def _trials(board: Board) -> list[str]:
    """Remark on how many recipes were searched, where it is more than one."""
    counts = {row.recipes for row in board.rows}
    if counts == {1}:
        return []
    if len(counts) == 1:
        return [f"{counts.pop()} trials of each defense, the same number for all"]
    names = defaultdict(list)
    for row in board.rows:
        names[row.recipes].append(defenses.short(row.defense))
    told = (f"{count} of {_first(dict.fromkeys(of))}" for count, of in sorted(names.items()))
    return [f"unequal numbers of trials: {'; '.join(told)}"]


def _first(names: Iterable[str], most: int = 5) -> str:
    """Names, cut short after a few."""
    found = list(names)
    return ", ".join(found[:most]) + ", ..." * (len(found) > most)


def to_markdown(found: list[Board]) -> str:
    """A Markdown table for each board."""
    lines = []
    for board in found:
        lines += [f"**{title(board)}**", ""]
        columns = row_columns(board.rows)
        lines += [*_table(columns, board.rows), ""]
        lines += [*(f"{remark}  " for remark in remarks(board)), ""]
        if board.curves:
            lines += [*_table(CURVE_COLUMNS, board.curves), ""]
    return "\n".join(lines)


def _table(columns: Sequence[Column], items: Sequence[Any]) -> list[str]:
    table = [headings(columns), ["---"] * len(columns), *(texts(columns, item) for item in items)]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in table]
