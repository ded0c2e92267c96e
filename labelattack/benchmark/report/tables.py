"""Boards as text: JSON, CSV, Markdown, and the cells that people read."""

from __future__ import annotations

import csv
import io

from pydantic import BaseModel

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.curves import Curve
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.ranking import ALONE, LEVEL, Comparison
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.shaking import SHAKES, Shaken
from labelattack.benchmark.boards.text import rank_text, row_name, title, with_interval
from labelattack.measures._px_outcome import KEPT

_IMAGES = " (images)"  # an interval over seeds goes without saying
_MANY = ("rows", "curves", "comparisons", "unranked", "libraries")


def to_json(found: list[Board]) -> str:
    """Boards as a JSON array."""
    return "[" + ",\n".join(board.model_dump_json(indent=1) for board in found) + "]"


def to_csv(found: list[Board]) -> str:
    """One line a row, with what tells the boards apart in front."""
    text = io.StringIO()
    about = [name for name in Board.model_fields if name not in _MANY]
    columns = [*Row.model_fields, *Row.model_computed_fields]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*about, *columns])
    for board in found:
        head = [_flat(getattr(board, name)) for name in about]
        for row in board.rows:
            writer.writerow(head + [_flat(getattr(row, name)) for name in columns])
    return text.getvalue()


def _flat(value: object) -> object:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        return "; ".join(f"{key}={item}" for key, item in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


def cells_of(row: Row) -> list[str]:
    """A row as people read it, in the order of COLUMNS."""
    return [
        attacks.short(row.attack),
        row_name(row),
        with_interval(row.map, row.interval) + _IMAGES * (row.interval_over == "images"),
        "-" if row.rank is None else rank_text(row.rank),
        with_interval(row.to_reference, row.to_reference_interval, signed=True),
        with_interval(row.robustness, row.robustness_interval, digits=3),
        with_interval(row.fitness, row.fitness_interval, digits=3),
        with_interval(row.d_score, row.d_score_interval, digits=3),
        _shaken(row.evasion),
        _shaken(row.corruption),
        f"{row.worst_class} {-row.worst_drop:+.1f}" if row.worst_drop else "-",
        _percent(row.positives_removed),
        _percent(row.labels_removed),
        str(row.seeds) + (f" ({row.failed} failed)" if row.failed else ""),
        " ".join(f"{lr:g}" for lr in sorted(set(row.learning_rates))),
        row.selection_rule,
        ", ".join([*row.notes, *(f"unreliable: {reason}" for reason in row.unreliable)]),
    ]


COLUMNS = (
    "attack", "defense", "mAP", "rank", "vs full", "robustness", "fitness", "D-Score",
    "evasion", "corruption", "worst class", "positives lost", "labels lost", "seeds", "lr",
    "selected on", "notes",
)  # fmt: skip


def _shaken(found: Shaken | None) -> str:
    if found is None:
        return "-"
    kept = "" if found.kept is None else f" ({100 * found.kept:.0f}%)"
    return with_interval(found.map, found.interval) + kept


def remarks(board: Board) -> list[str]:
    """What must be said of a board beside its numbers."""
    found = []
    ranked = {row.attack for row in board.rows if row.rank}
    if ranked:
        found.append(
            "rank: ranks that paired t-tests over seeds, Holm-corrected over the pairs of an "
            f"attack at {100 * LEVEL:g} %, leave open"
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
    for name in SHAKES:
        ways = {of.how for row in board.rows if (of := getattr(row, name)) is not None}
        found += [
            f"{name}: mAP on changed test images, and in brackets {KEPT}; {how}"
            for how in sorted(ways)
        ]
    if undefined := max((row.undefined_classes for row in board.rows), default=0):
        found.append(f"mAP leaves out {undefined} classes without a positive in test")
    if saturated := sorted({name for row in board.rows for name in row.saturated_classes}):
        found.append(
            f"mAP counts {', '.join(saturated)} with the AP of 1 that any model has on a class "
            "without a negative in test"
        )
    several = {name: " and ".join(v) for name, v in board.libraries.items() if len(v) > 1}
    found += [f"computed with several versions of {name}: {v}" for name, v in several.items()]
    return found


def to_markdown(found: list[Board]) -> str:
    """A Markdown table for each board."""
    lines = []
    for board in found:
        lines += [f"**{title(board)}**", ""]
        table = [list(COLUMNS), ["---"] * len(COLUMNS), *map(cells_of, board.rows)]
        for cells in table:
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines += ["", *(f"{remark}  " for remark in remarks(board)), ""]
        if board.curves:
            table = [
                list(CURVE_COLUMNS),
                ["---"] * len(CURVE_COLUMNS),
                *map(curve_cells, board.curves),
            ]
            lines += ["| " + " | ".join(cells) + " |" for cells in table] + [""]
    return "\n".join(lines)


CURVE_COLUMNS = ("attack", "defense", "mAP at rate", "area", "to rate")


def curve_cells(curve: Curve) -> list[str]:
    """A curve as people read it, in the order of CURVE_COLUMNS."""
    points = zip(curve.rates, curve.maps, curve.intervals, strict=True)
    return [
        attacks.short(curve.attack, keep=()),
        row_name(curve),
        ", ".join(f"{rate:g}: {with_interval(value, half)}" for rate, value, half in points),
        with_interval(curve.area, curve.area_interval, digits=3),
        f"{max(curve.rates):g}",
    ]


COMPARISON_COLUMNS = (
    "attack", "better", "worse", "difference", "effect size", "p", "corrected p", "told apart",
    "seeds",
)  # fmt: skip


def comparison_cells(pair: Comparison) -> list[str]:
    """A comparison as people read it, in the order of COMPARISON_COLUMNS."""
    return [
        attacks.short(pair.attack),
        pair.first,
        pair.second,
        with_interval(pair.difference, pair.interval),
        "-" if pair.effect_size is None else f"{pair.effect_size:.1f}",
        *(f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in (pair.p, pair.p_corrected)),
        "yes" if pair.distinct else "no",
        str(pair.seeds),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
