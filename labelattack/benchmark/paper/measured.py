"""Measured numbers as a paper's are set beside them, and the tables in which both are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labelattack.benchmark.boards.keys import limit_text
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record
from labelattack.datasets import registry as datasets
from labelattack.measures.request import measure_of, metric_named
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.training.protocols import asked_protocol


@dataclass(frozen=True)
class Setting:
    """Selected runs on one dataset with one model, protocol and number of epochs."""

    runs: tuple[Record, ...]

    @property
    def dataset(self) -> str:
        """Name of the dataset, without parameters."""
        return Spec.parse(self.runs[0].cell.dataset).name

    def text(self, *, keep: tuple[str, ...] = ()) -> str:
        """Dataset, model, protocol and epochs.

        Args:
            keep: Parameters of the dataset that are told even at their defaults.
        """
        cell = self.runs[0].cell
        parts = (
            datasets.short(cell.dataset, keep=keep),
            limit_text(cell),
            models.short(cell.model),
            asked_protocol(cell.protocol),
            f"{cell.recipe.epochs} epochs",
        )
        return " · ".join(filter(None, parts))

    def values(self, measure: str) -> dict[tuple[str, str], dict[int, float]]:
        """Numbers as papers print them: by attack and defense, then by seed."""
        found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        for record in self.runs:
            value = record.value(measure, measure_of(measure))
            if value is not None:
                scaled = metric_named(measure).scale * value
                found[record.cell.attack, record.cell.defense][record.cell.seed] = scaled
        return found


def settings_of(records: Iterable[Record]) -> list[Setting]:
    """Groups records; recipes are selected on validation, as on boards."""
    found: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in selected_runs(records):
        cell = record.cell
        protocol = asked_protocol(cell.protocol)
        key = cell.dataset, cell.model, protocol, cell.recipe.epochs, cell.fingerprint, cell.limit
        found[key].append(record)
    return [Setting(tuple(runs)) for runs in found.values()]


def scopeless(attack: str) -> str:
    """The spec of an attack without its scope, which papers leave open."""
    spec = Spec.parse(attack)
    return str(Spec.of(spec.name, {k: v for k, v in spec.params if k != "scope"}))


class Table(NamedTuple):
    """Text of a comparison.

    Attributes:
        title: Name of the published table.
        about: What the measured numbers are of.
        columns: Heads.
        rigid: How many columns never wrap.
        rows: A text for each column.
        remarks: Lines below.
    """

    title: str
    about: str
    columns: tuple[str, ...]
    rigid: int
    rows: list[list[str]]
    remarks: list[str]


def to_markdown(tables: Sequence[Table]) -> str:
    """Markdown of tables, one below the other."""
    text = []
    for table in tables:
        text += [f"**{table.title}**: {table.about}", ""]
        rows = [list(table.columns), ["---"] * len(table.columns), *table.rows]
        text += ["| " + " | ".join(cells) + " |" for cells in rows]
        text += ["", *table.remarks, ""]
    return "\n".join(text)
