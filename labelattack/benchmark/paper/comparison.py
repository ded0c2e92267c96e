"""A paper's numbers beside measured ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.attacks import registry as attacks
from labelattack.benchmark.paper.measured import Setting, Table, scopeless, settings_of
from labelattack.benchmark.plan.config import Reported
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses
from labelattack.measures.request import metric_named
from labelattack.metrics.statistics import estimate, rank_agreement
from labelattack.metrics.text import with_interval


class Entry(BaseModel):
    """One number of the paper and its counterpart; mAP in points, the rest as D-Score has it.

    Attributes:
        defense: Resolved spec.
        reported: What the paper prints.
        measured: Mean over seeds; None if there is none.
        interval: Half-width of its 95 % Student-t interval; None below two seeds.
        difference: Measured - reported.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    defense: str
    reported: float
    measured: float | None
    interval: float | None
    difference: float | None


class Column(BaseModel):
    """One attack and measure: does the order of the defenses hold?

    Attributes:
        attack: Resolved spec of what was run; the paper's own, or the same with another scope.
        measure: What was measured.
        seeds: Seeds that finished for every defense.
        entries: The defenses, in the paper's order.
        tau: Kendall's tau between reported and measured values; None if undefined.
        tau_interval: Its 95 % interval, from resampling seeds.
        best_reported: Defense that the paper has in front.
        best_measured: Defense that is in front here; None if nothing was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    measure: str
    seeds: int
    entries: list[Entry]
    tau: float | None
    tau_interval: tuple[float, float] | None
    best_reported: str
    best_measured: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def order_holds(self) -> bool | None:
        """Whether all means are in the paper's order, its ties aside; None below two of them."""
        known = [(e.reported, e.measured) for e in self.entries if e.measured is not None]
        pairs = [(one, other) for one in known for other in known if one[0] < other[0]]
        return all(one[1] < other[1] for one, other in pairs) if pairs else None


class Comparison(BaseModel):
    """A paper's table for one dataset, set beside one board.

    Attributes:
        title: Name of the table.
        measured_on: Dataset, model, protocol and epochs of what was measured.
        columns: Attacks and measures.
        tau: Mean of the columns' tau.
        held: Columns in which the whole order holds.
        front: Columns in which the paper's best is the best here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    measured_on: str
    columns: list[Column]
    tau: float | None
    held: int
    front: int

    def table(self) -> Table:
        """The comparison as people read it."""
        rows, remarks = lines(self), [verdict(self)]
        return Table(self.title, self.measured_on, COLUMNS, len(COLUMNS), rows, remarks)


def compare(
    title: str, reported: Sequence[Reported], records: Iterable[Record]
) -> list[Comparison]:
    """Sets reported numbers beside those of selected runs.

    Args:
        title: Name of the table.
        reported: What the paper prints.
        records: What was run.

    Returns:
        A comparison for each setting in which a reported dataset was run. An attack of the paper is
        compared with every scope of it that was run.
    """
    found = []
    for setting in settings_of(records):
        columns = [
            column
            for table in reported
            if table.dataset == setting.dataset
            for column in _columns(table, setting)
        ]
        if columns:
            taus = [column.tau for column in columns if column.tau is not None]
            found.append(
                Comparison(
                    title=title,
                    measured_on=setting.text(),
                    columns=columns,
                    tau=float(np.mean(taus)) if taus else None,
                    held=sum(bool(column.order_holds) for column in columns),
                    front=sum(c.best_measured == c.best_reported for c in columns),
                )
            )
    return found


def _columns(table: Reported, setting: Setting) -> list[Column]:
    values = setting.values(table.measure)
    wanted = {name: str(defenses.resolve(name)) for name in table.values}
    found = []
    for number, attack in enumerate(table.attacks):
        own = scopeless(str(attacks.resolve(attack)))
        for measured in dict.fromkeys(a for a, _ in values if scopeless(a) == own):
            by_defense = {name: values[measured, spec] for name, spec in wanted.items()}
            expected = {name: row[number] for name, row in table.values.items()}
            found.append(_column(measured, table.measure, expected, by_defense, wanted))
    return found


def _column(
    attack: str,
    measure: str,
    expected: dict[str, float],
    by_defense: dict[str, dict[int, float]],
    specs: dict[str, str],
) -> Column:
    entries = []
    for name, reported in expected.items():
        measured = estimate(list(by_defense[name].values()))
        mean = measured.mean if measured.seeds else None
        entries.append(
            Entry(
                defense=specs[name],
                reported=reported,
                measured=mean,
                interval=measured.half_width,
                difference=None if mean is None else mean - reported,
            )
        )
    there = [name for name in expected if by_defense[name]]
    seeds = sorted(set.intersection(*(set(by_defense[name]) for name in there)) if there else ())
    matrix = np.array([[by_defense[name][seed] for name in there] for seed in seeds])
    whole = len(there) > 1 and bool(seeds)
    agreement = rank_agreement([expected[name] for name in there], matrix) if whole else None
    sign = 1.0 if metric_named(measure).higher_is_better else -1.0
    known = {e.defense: sign * e.measured for e in entries if e.measured is not None}
    return Column(
        attack=attack,
        measure=measure,
        seeds=len(seeds),
        entries=entries,
        tau=agreement.tau if agreement else None,
        tau_interval=agreement.interval if agreement else None,
        best_reported=specs[max(expected, key=lambda name: sign * expected[name])],
        best_measured=max(known, key=known.__getitem__, default=None),
    )


LEGEND = (
    "measured: mean ± 95 % t-interval over seeds. order, tau: of the defenses by their means; "
    "Kendall's tau, 95 %\ninterval from resampling seeds. 1 is the paper's order, -1 its "
    "reverse."
)
COLUMNS = ("attack", "measure", "defense", "paper", "measured", "difference", "order", "tau")


def lines(comparison: Comparison) -> list[list[str]]:
    """A comparison as people read it, in the order of COLUMNS; what repeats is left empty."""
    found = []
    for column in comparison.columns:
        metric = metric_named(column.measure)
        low_high = column.tau_interval
        tau = "-" if column.tau is None else f"{column.tau:+.2f}"
        tau += "" if low_high is None else f" [{low_high[0]:+.2f}, {low_high[1]:+.2f}]"
        holds = {True: "holds", False: "does not hold", None: "-"}[column.order_holds]
        about = [attacks.short(column.attack, keep=("rate", "scope")), metric.label]
        for number, entry in enumerate(column.entries):
            found.append(
                [
                    *(about if number == 0 else ["", ""]),
                    defenses.short(entry.defense),
                    f"{entry.reported:.{metric.digits}f}",
                    with_interval(entry.measured, entry.interval, digits=metric.digits),
                    with_interval(entry.difference, None, signed=True, digits=metric.digits),
                    *([holds, tau] if number == 0 else ["", ""]),
                ]
            )
    return found


def verdict(comparison: Comparison) -> str:
    """One sentence on what held."""
    total = len(comparison.columns)
    tau = "undefined" if comparison.tau is None else f"{comparison.tau:+.2f}"
    return (
        f"The paper's whole order holds in {comparison.held} of {total} columns, its best is the "
        f"best here in {comparison.front} of {total}; mean tau {tau}."
    )
