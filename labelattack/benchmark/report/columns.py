"""Columns of boards: each names what it holds, how it is written, and where it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.curves import Curve
from labelattack.benchmark.boards.ranking import Comparison
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import rank_text, row_name, training_labels
from labelattack.measures.request import derived_measures, taken_measures
from labelattack.measures.summary import Column
from labelattack.metrics.text import with_interval
from labelattack.training.recipe import Setting, setting_text, words_last

_IMAGES = " (images)"  # an interval over seeds goes without saying


def row_columns(rows: Sequence[Row]) -> list[Column]:
    """Columns of a board's rows.

    Args:
        rows: Rows of the boards that are shown: measures that none of them has add no column,
            except those that tables in files have always had.
    """
    present = {name for row in rows for name in row.measured}
    columns = {name: cls.columns() for name, cls in taken_measures().items()}
    columns |= {name: cls.columns() for name, cls in derived_measures().items()}
    measured = [
        column
        for name, own in columns.items()
        for column in _columns_of(name, own, name in present)
    ]
    known = f"vs {training_labels(rows)}"
    worst = any(row.worst_of for row in rows)
    return [
        replace(column, heading=column.heading.replace("vs full", known))
        for column in (*_BEFORE, *measured, *_AFTER)
        if worst or column is not _WORST_UNDER
    ]


def _columns_of(name: str, columns: Sequence[Column], present: bool) -> list[Column]:
    """Columns of rows, given those of a measure's summaries."""

    def text_of(column: Column) -> Callable[[Row], str]:
        def text(row: Row) -> str:
            summary = row.measured.get(name)
            return "-" if summary is None else column.text(summary)

        return text

    return [
        replace(column, text=text_of(column), numeric=True)
        for column in columns
        if present or column.always
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _worst_under(row: Row) -> str:
    """Attacks that did most harm, the most frequent first, with the seeds of each."""
    counts = Counter(attacks.short(attack, keep=()) for attack in row.worst_of.values())
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{attack} ({count})" for attack, count in counts.most_common()) or "-"


_WORST_UNDER = Column("worst under", "worst_of", _worst_under, rigid=False)
_BEFORE = (
    Column("attack", "attack", lambda row: attacks.short(row.attack)),
    Column("defense", "defense", lambda row: row_name(row)),
    Column(
        "mAP",
        "map",
        lambda row: (
            with_interval(row.map, row.interval) + _IMAGES * (row.interval_over == "images")
        ),
        numeric=True,
    ),
    Column(
        "rank",
        "rank",
        lambda row: "-" if row.rank is None else rank_text(row.rank),
        numeric=True,
    ),
    _WORST_UNDER,
    Column(
        "vs full",
        "to_reference",
        lambda row: with_interval(row.to_reference, row.to_reference_interval, signed=True),
        numeric=True,
    ),
)
_AFTER = (
    Column(
        "positives lost",
        "positives_removed",
        lambda row: _percent(row.positives_removed),
        numeric=True,
        on_terminal=False,
    ),
    Column(
        "labels lost",
        "labels_removed",
        lambda row: _percent(row.labels_removed),
        numeric=True,
        on_terminal=False,
    ),
    Column(
        "seeds",
        "seeds",
        lambda row: str(row.seeds) + (f" ({row.failed} failed)" if row.failed else ""),
        numeric=True,
        rigid=False,
    ),
    Column(
        "lr",
        "learning_rates",
        lambda row: _selected_rates(row),
        gives_way=True,
        rigid=False,
    ),
    Column("selected on", "selection_rule", lambda row: row.selection_rule, on_terminal=False),
    Column(
        "notes",
        "unreliable",
        lambda row: ", ".join(
            [*row.notes, *(f"unreliable: {reason}" for reason in row.unreliable)]
        ),
        on_terminal=False,
    ),
)


def _selected_rates(row: Row) -> str:
    """Learning rates and further settings selected, each value once."""
    named: dict[str, Iterable[Setting]] = {"": row.learning_rates}
    named |= {f"{name}=": of for name, of in row.hyper_parameters.items()}
    texts = ((name, dict.fromkeys(sorted(of, key=words_last))) for name, of in named.items())
    return " ".join(f"{name}{setting_text(value)}" for name, of in texts for value in of)


def _rates(curve: Curve) -> str:
    points = zip(curve.rates, curve.maps, curve.intervals, strict=True)
    return ", ".join(f"{rate:g}: {with_interval(value, half)}" for rate, value, half in points)


CURVE_COLUMNS = (
    Column("attack", "attack", lambda curve: attacks.short(curve.attack, keep=())),
    Column("defense", "defense", lambda curve: row_name(curve)),
    Column("mAP at rate", "maps", _rates),
    Column(
        "area",
        "area",
        lambda curve: with_interval(curve.area, curve.area_interval, digits=3),
        numeric=True,
    ),
    Column("to rate", "rates", lambda curve: f"{max(curve.rates):g}"),
)


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _effect(pair: Comparison) -> str:
    return "-" if pair.effect_size is None else f"{pair.effect_size:.1f}"


COMPARISON_COLUMNS = (
    Column("attack", "attack", lambda pair: attacks.short(pair.attack)),
    Column("better", "first", lambda pair: pair.first),
    Column("worse", "second", lambda pair: pair.second),
    Column(
        "difference",
        "difference",
        lambda pair: with_interval(pair.difference, pair.interval),
        numeric=True,
    ),
    Column("effect size", "effect_size", _effect, numeric=True),
    Column("p", "p", lambda pair: _p_text(pair.p), numeric=True),
    Column("corrected p", "p_corrected", lambda pair: _p_text(pair.p_corrected), numeric=True),
    Column("told apart", "distinct", lambda pair: "yes" if pair.distinct else "no"),
    Column("seeds", "seeds", lambda pair: str(pair.seeds), numeric=True),
)


def texts(columns: Sequence[Column], item: Any) -> list[str]:
    """Texts of a row, curve or comparison, in the order of the columns."""
    return [column.text(item) for column in columns]


def headings(columns: Sequence[Column]) -> list[str]:
    """Headings, in the order of the columns."""
    return [column.heading for column in columns]
