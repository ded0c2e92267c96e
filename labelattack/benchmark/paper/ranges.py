"""Numbers of several papers beside measured ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.text import selection_text
from labelattack.benchmark.paper.measured import Setting, Table, scopeless, settings_of
from labelattack.benchmark.plan.config import Reported, SelectedOn
from labelattack.benchmark.plan.grid import attack_met
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses
from labelattack.measures.request import metric_named
from labelattack.metrics.statistics import estimate
from labelattack.metrics.text import with_interval
from labelattack.registry.spec import Spec


class Claim(BaseModel):
    """A number in print.

    Attributes:
        value: As printed; mAP in points.
        source: Paper and table.
        selection: Labels on which the paper chose epoch and recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    source: str
    selection: SelectedOn


class RangeEntry(BaseModel):
    """Numbers of one defense in print, and their counterpart.

    Attributes:
        defense: Resolved spec.
        reported: What each paper prints.
        low: The smallest of them.
        high: The largest of them.
        measured: Mean over seeds; None if there is none.
        interval: Half-width of its 95 % Student-t interval; None below two seeds.
        difference: Measured - the nearest end of the range; 0 inside of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    defense: str
    reported: list[Claim]
    low: float
    high: float
    measured: float | None
    interval: float | None
    difference: float | None


class Ranges(BaseModel):
    """Numbers of several papers for one dataset, attack and measure, beside measured ones.

    Attributes:
        title: Name of the collection.
        measured_on: Dataset, model, protocol, epochs and selection of what was measured.
        attack: Resolved spec of what was run; the papers' own, or the same with another scope.
        measure: What was measured.
        entries: References, then defenses, in the order in which papers name them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    measured_on: str
    attack: str
    measure: str
    entries: list[RangeEntry]

    def table(self) -> Table:
        """The comparison as people read it; its remarks are a numbered list of sources."""
        metric = metric_named(self.measure)
        about = f"{attacks.short(self.attack, keep=('rate', 'scope'))}, {metric.label}"
        numbers: dict[str, int] = {}
        for entry in self.entries:
            for claim in entry.reported:
                numbers.setdefault(claim.source, len(numbers) + 1)
        return Table(
            self.title,
            f"{about}, measured on {self.measured_on}",
            COLUMNS,
            len(COLUMNS) - 1,  # sources may be many
            [_line(entry, numbers, metric.digits) for entry in self.entries],
            [f"{number}. {source}" for source, number in numbers.items()],
        )


LEGEND = (
    "reported: smallest to largest in print. selected on: labels that chose epoch and recipe "
    "there. measured: mean ± 95 %\nt-interval over seeds. difference: from the nearest end of the "
    "range; 0 is inside. sources: number [paper]."
)
COLUMNS = ("defense", "reported", "selected on", "measured", "difference", "sources")


def _line(entry: RangeEntry, numbers: dict[str, int], digits: int) -> list[str]:
    low, high = (f"{end:.{digits}f}" for end in (entry.low, entry.high))
    count = len({claim.source for claim in entry.reported})
    papers = f"{count} paper" + "s" * (count > 1)
    inside = entry.difference == 0
    return [
        defenses.short(entry.defense),
        f"{low if low == high else f'{low} to {high}'} ({papers})",
        ", ".join(dict.fromkeys(claim.selection for claim in entry.reported)),
        with_interval(entry.measured, entry.interval, digits=digits),
        "0" if inside else with_interval(entry.difference, None, signed=True, digits=digits),
        ", ".join(f"{c.value:.{digits}f} [{numbers[c.source]}]" for c in entry.reported),
    ]


def compare(title: str, reported: Sequence[Reported], records: Iterable[Record]) -> list[Ranges]:
    """Sets ranges of reported numbers beside the means of selected runs.

    Args:
        title: Name of the collection.
        reported: What papers print; each table has a source.
        records: What was run.

    Returns:
        Ranges for each setting in which a reported dataset was run, each measure, and each attack
        or scope of it that was run.
    """
    return [
        found
        for setting in settings_of(records)
        for measure in dict.fromkeys(table.measure for table in reported)
        for found in _ranges(title, setting, measure, reported)
    ]


def _ranges(
    title: str, setting: Setting, measure: str, reported: Sequence[Reported]
) -> Iterator[Ranges]:
    tables = [t for t in reported if (t.dataset, t.measure) == (setting.dataset, measure)]
    values = setting.values(measure)
    named = {scopeless(str(attacks.resolve(name))) for table in tables for name in table.attacks}
    selection = setting.runs[0].cell.selection
    for attack in dict.fromkeys(a for a, _ in values if scopeless(a) in named):
        entries = []
        for defense, claims in _claims(tables, attack).items():
            met = str(attack_met(attack, Spec.parse(defense)))
            entries.append(_entry(defense, claims, values[met, defense].values()))
        yield Ranges(
            title=title,
            measured_on=f"{setting.text(keep=('year',))} · {selection_text(selection)}",
            attack=attack,
            measure=measure,
            entries=entries,
        )


def _claims(tables: Sequence[Reported], attack: str) -> dict[str, list[Claim]]:
    found: dict[str, list[Claim]] = defaultdict(list)
    for table in tables:
        assert table.selection is not None  # as it has a source
        for column, name in enumerate(table.attacks):
            if scopeless(str(attacks.resolve(name))) == scopeless(attack):
                for defense, row in table.values.items():
                    claim = Claim(value=row[column], source=table.source, selection=table.selection)
                    found[str(defenses.resolve(defense))].append(claim)
    return dict(sorted(found.items(), key=lambda item: not _is_oracle(item[0])))


def _is_oracle(defense: str) -> bool:
    return defenses.get(Spec.parse(defense).name).oracle


def _entry(defense: str, claims: list[Claim], scores: Iterable[float]) -> RangeEntry:
    measured = estimate(list(scores))
    low, high = (end(claim.value for claim in claims) for end in (min, max))
    mean = measured.mean if measured.seeds else None
    return RangeEntry(
        defense=defense,
        reported=claims,
        low=low,
        high=high,
        measured=mean,
        interval=measured.half_width,
        difference=None if mean is None else mean - min(max(mean, low), high),
    )
