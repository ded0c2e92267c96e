"""Keys of boards and rows: the settings that compared records share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from labelattack.benchmark.plan.cell import CODE, Cell
from labelattack.benchmark.store.record import Record
from labelattack.registry.spec import Spec
from labelattack.training.protocols import asked_protocol

DEVICE, CPU = "device", "cpu"


class BoardKey(BaseModel):
    """A board: what all its rows have in common.

    Attributes:
        dataset: Resolved spec, or the name that it gives.
        fingerprint: Hash of the dataset's images and labels.
        model: Resolved spec.
        protocol: Training protocol that was asked for.
        epochs: Passes over the training set.
        selection: Whose validation labels chose epoch and recipe.
        versions: Versions of dataset and model.
        budget: Labels that every attack removes, such as ``positives=0.4``; empty where the rates
            of the attacks decide.
        limit: Images that are used, such as ``60 images a split``; empty for all.
        labels: Whether attacks hide labels, ``removed``, or change them, ``changed``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str
    fingerprint: str
    model: str
    protocol: str
    epochs: int
    selection: str
    versions: str
    budget: str = Field(default="", exclude_if=lambda budget: not budget)
    limit: str = Field(default="", exclude_if=lambda limit: not limit)
    labels: str = Field(default="removed", exclude_if=lambda labels: labels == "removed")


class PairKey(BaseModel):
    """A row: an attack and a defense.

    Attributes:
        attack: Resolved spec.
        defense: Resolved spec.
        versions: Their versions, and that of edited code they share; another is another row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    attack: str
    defense: str
    versions: str

    @property
    def attack_version(self) -> str:
        """The first of the versions."""
        return self.versions.partition(", defense ")[0]


def dataset_name(spec: str) -> str:
    """Name that the resolved spec of a dataset gives, free of one machine's paths; else the spec.

    Args:
        spec: Resolved spec.
    """
    given = dict(Spec.parse(spec).params).get("name", "")
    return str(given) or spec


def limit_text(cell: Cell) -> str:
    """Images of each split that a cell uses, such as ``60 images a split``; empty for all."""
    return "" if cell.limit is None else f"{cell.limit} images a split"


def board_key_of(record: Record) -> BoardKey:
    """The board that a record belongs to."""
    cell = record.cell
    return BoardKey(
        dataset=dataset_name(cell.dataset),
        fingerprint=cell.fingerprint,
        model=cell.model,
        protocol=asked_protocol(cell.protocol),
        epochs=cell.recipe.epochs,
        selection=cell.selection,
        versions=f"dataset {cell.versions['dataset']}, model {cell.versions['model']}",
        budget=cell.budget or "",
        limit=limit_text(cell),
        labels=cell.labels,
    )


def pair_key_of(record: Record) -> PairKey:
    """The row of its board that a record belongs to."""
    cell = record.cell
    named = (
        f"{of} {cell.versions[of]}" for of in ("attack", "defense", CODE) if of in cell.versions
    )
    # Another reduction is another row, too.
    reduced = ("mean reduction",) if cell.recipe.reduction == "mean" else ()
    versions = ", ".join((*named, *reduced))
    return PairKey(attack=cell.attack, defense=cell.defense, versions=versions)


def libraries_of(records: Iterable[Record]) -> dict[str, list[str]]:
    """Every version of each library that computed one of the records, sorted.

    And kinds of devices, under ``device``, if one computed elsewhere than on the CPU: two agree up
    to rounding only, and whole networks train in bfloat16 on CUDA.
    """
    found: dict[str, set[str]] = defaultdict(set)
    kinds = set()
    for record in records:
        for name, version in record.libraries.items():
            found[name].add(version)
        kinds.add(record.device.partition(":")[0] or CPU)
    if kinds - {CPU}:
        found[DEVICE] = kinds
    return {name: sorted(versions) for name, versions in sorted(found.items())}


class RowKey(NamedTuple):
    """A row of a mixed board: a pair, and what else tells it from other rows."""

    attack: str
    defense: str
    versions: str
    variant: str
