"""Boards: records, selected on validation, summed up over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from labelattack.benchmark.boards.curves import Curve, curves_of
from labelattack.benchmark.boards.keys import (
    BoardKey,
    RowKey,
    board_key_of,
    libraries_of,
    pair_key_of,
)
from labelattack.benchmark.boards.ranking import Comparison, Run, rank
from labelattack.benchmark.boards.row import Row, row_of
from labelattack.benchmark.boards.text import row_name
from labelattack.benchmark.boards.worst_case import worst_cases
from labelattack.benchmark.plan.grid import REFERENCE
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record, points
from labelattack.errors import unknown


class Board(BaseModel):
    """Rows that may be compared.

    Attributes:
        dataset: Resolved spec, or the name that it gives.
        fingerprint: Hash of the dataset's images and labels.
        model: Resolved spec.
        protocol: What was trained.
        epochs: Passes over the training set; None if they differ.
        selection: Whose validation labels chose epoch and recipe.
        versions: Versions of dataset and model.
        budget: Labels that every attack removes; empty where the rates of the attacks decide.
        limit: Images that are used, such as ``60 images a split``; empty for all.
        labels: Whether attacks hide labels, ``removed``, or change them, ``changed``.
        mixed: Which of these differ from row to row, since it was asked for; they are joined by
            `` | ``, and each row says its own.
        libraries: Every version of each library that computed a record.
        rows: The worst case over attacks at one budget, if there are at least three; then by attack
            and falling mAP.
        curves: mAP against rate.
        comparisons: Paired comparisons of defenses under each attack.
        unranked: Why rows of an attack have no rank: all of them, or those that are named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    fingerprint: str
    model: str
    protocol: str
    epochs: int | None
    selection: str
    versions: str
    budget: str = Field(default="", exclude_if=lambda budget: not budget)
    limit: str = Field(default="", exclude_if=lambda limit: not limit)
    labels: str = Field(default="removed", exclude_if=lambda labels: labels == "removed")
    mixed: list[str]
    libraries: dict[str, list[str]]
    rows: list[Row]
    curves: list[Curve]
    comparisons: list[Comparison]
    unranked: dict[str, str]


Mixable = Literal["dataset", "model", "protocol", "selection", "versions", "budget", "labels"]
_SETTLED_BY: dict[Mixable, tuple[str, ...]] = {
    "dataset": ("dataset", "fingerprint"),
    "model": ("model",),
    "protocol": ("protocol", "epochs"),
    "selection": ("selection",),
    "versions": ("versions",),
    "budget": ("budget",),
    "labels": ("labels",),
}


_JOINED = [name for name in BoardKey.model_fields if name != "epochs"]


def boards(records: Iterable[Record], *, mix: Collection[Mixable] = ()) -> list[Board]:
    """Makes boards; records that may not be compared go to different ones.

    Args:
        records: Finished and failed records, in any order.
        mix: What may differ within one board all the same.

    Returns:
        Boards in the order of their first record, rows by attack and falling mAP.

    Raises:
        UnknownNameError: If something else is to be mixed.
    """
    return [board for board, _ in boards_with_records(records, mix=mix)]


def boards_with_records(
    records: Iterable[Record], *, mix: Collection[Mixable] = ()
) -> list[tuple[Board, list[Record]]]:
    """Boards with their records; see [boards][labelattack.benchmark.boards.leaderboard.boards]."""
    for name in mix:
        if name not in _SETTLED_BY:
            raise unknown("mixture", name, _SETTLED_BY)
    free = {field for name in mix for field in _SETTLED_BY[name]}
    same: dict[BoardKey, list[Record]] = defaultdict(list)
    for record in records:
        same[board_key_of(record)].append(record)
    same = _with_references(same)
    groups: dict[tuple[object, ...], dict[BoardKey, list[Record]]] = defaultdict(dict)
    for identity, members in same.items():
        groups[tuple(v for k, v in identity if k not in free)][identity] = members
    return [
        (_board(group, free, sorted(mix)), [record for of in group.values() for record in of])
        for group in groups.values()
    ]


def _with_references(
    same: dict[BoardKey, list[Record]],
) -> dict[BoardKey, list[Record]]:
    """Adds what was trained without an attack to the boards of budgets and of changed labels.

    Such runs have neither; a board of theirs alone says nothing that those do not say.
    """
    found = {key: list(records) for key, records in same.items()}
    for key in same:
        plain = key.model_copy(update={"budget": "", "labels": "removed"})
        if plain != key and plain in same:
            found[key] += [record for record in same[plain] if record.cell.attack == "none"]
            if all(record.cell.attack == "none" for record in same[plain]):
                found.pop(plain, None)
    return found


def _board(members: dict[BoardKey, list[Record]], free: set[str], mixed: list[Mixable]) -> Board:
    groups: dict[RowKey, list[Record]] = defaultdict(list)
    for identity, records in members.items():
        variant = ", ".join(
            f"{value} epochs" if name == "epochs" else str(value)
            for name, value in identity
            if name in free and name != "fingerprint"
        )
        for record in records:
            # A component's other version is another row, never averaged in.
            pair = pair_key_of(record)
            groups[RowKey(pair.attack, pair.defense, pair.versions, variant)].append(record)
    names = Counter((key.attack, key.defense, key.variant) for key in groups)
    chosen = {key: _selected(group) for key, group in groups.items()}
    references = {
        key.variant: best
        for key, best in chosen.items()
        if (key.attack, key.defense) == ("none", REFERENCE)
    }
    rows = []
    for key, group in groups.items():
        told = [key.variant] if key.variant else []
        if names[key.attack, key.defense, key.variant] > 1:
            told.append(f"versions: {key.versions}")
        rows.append(row_of(group, chosen[key], references.get(key.variant, {}), ", ".join(told)))
    order = sorted(
        range(len(rows)),
        key=lambda n: (
            rows[n].attack != "none", rows[n].attack, -(rows[n].map or 0.0), rows[n].defense,
            rows[n].variant,
        ),
    )  # fmt: skip
    runs = [_runs(best) for best in chosen.values()]
    worst = worst_cases(dict(zip(chosen, rows, strict=True)), groups, chosen, references)
    ranked, comparisons, unranked = _ranked(
        [*(case.row for case in worst), *(rows[n] for n in order)],
        [*(case.runs for case in worst), *(runs[n] for n in order)],
    )
    values = {name: list(dict.fromkeys(getattr(i, name) for i in members)) for name in _JOINED}
    epochs = {identity.epochs for identity in members}
    return Board(
        **{name: " | ".join(found) for name, found in values.items()},
        epochs=epochs.pop() if len(epochs) == 1 else None,
        mixed=list(mixed),
        libraries=libraries_of(record for records in members.values() for record in records),
        rows=ranked,
        curves=curves_of(chosen, references),
        comparisons=comparisons,
        unranked=unranked,
    )


def _runs(chosen: dict[int, Record]) -> dict[int, Run]:
    return {
        seed: Run(points(record), record.removal.attacked_labels if record.removal else None)
        for seed, record in chosen.items()
    }


def _ranked(
    rows: list[Row], runs: list[dict[int, Run]]
) -> tuple[list[Row], list[Comparison], dict[str, str]]:
    """The rows with their ranks; rows of one attack lie together."""
    found: list[Row] = []
    comparisons: list[Comparison] = []
    unranked: dict[str, str] = {}
    for attack, group in groupby(zip(rows, runs, strict=True), lambda pair: pair[0].attack):
        members = list(group)
        ranking = rank(attack, [(row_name(row), of) for row, of in members])
        comparisons += ranking.comparisons
        if ranking.reason:
            unranked[attack] = ranking.reason
        found += [
            row.model_copy(update={"rank": of})
            for (row, _), of in zip(members, ranking.ranks, strict=True)
        ]
    return found, comparisons, unranked


def _selected(group: list[Record]) -> dict[int, Record]:
    """The record that validation chooses for each seed, seeds ascending."""
    best = sorted(selected_runs(group), key=lambda record: record.cell.seed)
    return {record.cell.seed: record for record in best}
