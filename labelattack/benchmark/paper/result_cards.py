"""Cards: one reviewable JSON file for each row of a board."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.keys import (
    BoardKey,
    PairKey,
    board_key_of,
    libraries_of,
    pair_key_of,
)
from labelattack.benchmark.boards.leaderboard import boards_with_records
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.paper.measured import scopeless
from labelattack.benchmark.plan.config import Experiment, experiment, read_experiment
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.files.storage import saved
from labelattack.hashing import digest
from labelattack.models import registry as models
from labelattack.registry.plugins import load_plugins
from labelattack.registry.spec import Spec
from labelattack.training.recipe import Setting, words_last

FORMAT: Literal[1] = 1
Number = Annotated[float, PlainSerializer(lambda value: round(value, 6))]
Recipe = dict[str, Setting]
_CONFIG = ConfigDict(frozen=True, extra="forbid")


class Measured(BaseModel):
    """Results of a row; fields as of [Row][labelattack.benchmark.boards.row.Row]."""

    model_config = _CONFIG

    seeds: int
    maps: dict[int, Number]
    map: Number | None
    interval: Number | None
    interval_over: Literal["seeds", "images"] | None
    rank: tuple[int, int] | None
    to_reference: Number | None
    to_reference_interval: Number | None
    robustness: Number | None
    robustness_interval: Number | None
    fitness: Number | None
    fitness_interval: Number | None
    d_score: Number | None
    d_score_interval: Number | None
    evasion: dict[str, Any] | None = None
    corruption: dict[str, Any] | None = None
    worst_class: str | None
    worst_drop: Number | None
    positives_removed: Number | None
    labels_removed: Number | None
    undefined_classes: int
    failed: int
    measures: dict[str, Any] | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Measures are left out where there are none."""
        fields: dict[str, Any] = handler(self)
        if fields["measures"] is None:
            del fields["measures"]
        return fields


class ReportedNumber(BaseModel):
    """A number that a paper reports, in its own setting.

    Attributes:
        source: Paper of the number, or title of the table.
        measure: What was measured; mAP in points.
        attack: As the table has it; its scope may be another than that of what was run.
        value: The number.
    """

    model_config = _CONFIG

    source: str
    measure: str
    attack: str
    value: float


class Provenance(BaseModel):
    """Provenance of the numbers, each sorted.

    Attributes:
        libraries: Every version of each library that computed a record.
        commits: Of this package's source.
        machines: Processor and platform.
        devices: What it was computed on.
        records: Keys of the records, of every recipe and seed.
    """

    model_config = _CONFIG

    libraries: dict[str, list[str]]
    commits: list[str]
    machines: list[str]
    devices: list[str]
    records: list[str]


class ResultCard(BaseModel):
    """A row with all that is needed to judge it.

    Attributes:
        format: Of the file.
        board: What it may be compared with.
        pair: Attack and defense.
        searched: Recipes searched: learning rate, batch size and what else was used, by name.
        selected: Recipe selected for each seed, likewise.
        selection_rule: Validation cells that selection saw.
        measured: What it came to.
        reported: What papers report for it.
        unreliable: Reasons not to trust it; empty if there is none.
        privileges: What it was told beyond attacked labels, and other remarks.
        provenance: Where the numbers are from.
    """

    model_config = _CONFIG

    format: Literal[1] = FORMAT
    board: BoardKey
    pair: PairKey
    searched: list[Recipe]
    selected: dict[int, Recipe]
    selection_rule: str
    measured: Measured
    reported: list[ReportedNumber]
    unreliable: list[str]
    privileges: list[str]
    provenance: Provenance

    @property
    def file_name(self) -> str:
        """Short specs that a person recognises, and a hash that tells cards apart."""
        parts = (
            datasets.short(self.board.dataset),
            self.board.limit,
            models.short(self.board.model),
            self.board.protocol,
            attacks.short(self.pair.attack),
            defenses.short(self.pair.defense),
        )
        plain = (re.sub(r"[^A-Za-z0-9.=_]+", "-", part).strip("-.")[:30] for part in parts)
        told = digest([self.board.model_dump(), self.pair.model_dump()])[:10]
        return f"{'_'.join(filter(None, plain))}_{told}.json"


def cards(records: Iterable[Record], papers: Sequence[Experiment] = ()) -> list[ResultCard]:
    """Makes a card for each row.

    Args:
        records: Finished and failed records, in any order.
        papers: Experiments with reported numbers.

    Returns:
        The cards, by board, then as the board has its rows.

    Raises:
        LabelAttackError: If a reported table names an unknown component.
    """
    return [
        _card(row, group, papers)
        for board, members in boards_with_records(sorted(records, key=lambda record: record.key))
        for row, group in _with_records(board.rows, members)
    ]


def _with_records(
    rows: Iterable[Row], records: Iterable[Record]
) -> Iterator[tuple[Row, list[Record]]]:
    groups: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        pair = pair_key_of(record)
        groups[pair.attack, pair.defense][f"versions: {pair.versions}"].append(record)
    for row in rows:
        by_version = groups[row.attack, row.defense]
        # A row names its versions only where there are several.
        yield row, by_version[row.variant or next(iter(by_version))]


def _card(row: Row, records: list[Record], papers: Sequence[Experiment]) -> ResultCard:
    chosen = sorted(selected_runs(records), key=lambda record: record.cell.seed)
    recipes = {tuple(record.cell.recipe.searched().items()) for record in records}

    def in_order(recipe: tuple[tuple[str, Setting], ...]) -> list[Any]:
        return [(name, words_last(value)) for name, value in recipe]

    return ResultCard(
        board=board_key_of(records[0]),
        pair=pair_key_of(records[0]),
        searched=[dict(recipe) for recipe in sorted(recipes, key=in_order)],
        selected={record.cell.seed: record.cell.recipe.searched() for record in chosen},
        selection_rule=row.selection_rule,
        measured=_measured(row),
        reported=list(_claims(row, records[0].cell.dataset, papers)),
        unreliable=row.unreliable,
        privileges=row.notes,
        provenance=_provenance(records),
    )


def _measured(row: Row) -> Measured:
    values = row.model_dump()
    if "measures" in values:
        values["measures"] = _rounded(values["measures"])
    return Measured(**{name: values[name] for name in Measured.model_fields if name in values})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _claims(row: Row, dataset: str, papers: Sequence[Experiment]) -> Iterator[ReportedNumber]:
    for paper in papers:
        for table in paper.reported:
            if table.dataset != Spec.parse(dataset).name:
                continue
            values = {str(defenses.resolve(name)): v for name, v in table.values.items()}
            for number, attack in enumerate(table.attacks):
                if row.defense in values and scopeless(row.attack) == scopeless(
                    str(attacks.resolve(attack))
                ):
                    yield ReportedNumber(
                        source=table.source or paper.title,
                        measure=table.measure,
                        attack=attack,
                        value=values[row.defense][number],
                    )


def _provenance(records: Sequence[Record]) -> Provenance:
    return Provenance(
        libraries=libraries_of(records),
        commits=sorted({record.commit for record in records if record.commit}),
        machines=sorted({record.machine for record in records if record.machine}),
        devices=sorted({record.device for record in records if record.device}),
        records=sorted(record.key for record in records),
    )


def papers_in(paths: Iterable[Path]) -> list[Experiment]:
    """Reads the experiments that report numbers.

    Args:
        paths: Experiments as TOML files.

    Raises:
        ParameterError: If one cannot be read or a value breaks its rule.
        UnknownNameError: If a key is unknown.
        PluginError: If a plug-in that one names fails.
    """
    found = []
    for path in paths:
        values = read_experiment(path)
        load_plugins(values.get("plugins", ()))
        found.append(experiment(values, origin=str(path)))
    return [paper for paper in found if paper.reported]


def write_cards(folder: Path, found: Iterable[ResultCard]) -> list[Path]:
    """Writes a file for each card; equal cards give equal bytes.

    Args:
        folder: Created if absent; what else it holds stays.
        found: The cards.

    Returns:
        Other JSON files of the folder: cards of rows that are gone, or none of this command's.

    Raises:
        StoreError: If one cannot be written.
    """
    written = set()
    for card in found:
        path = folder / card.file_name
        written.add(path)
        with saved(path, "card") as part:
            part.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return sorted(set(folder.glob("*.json")) - written)
