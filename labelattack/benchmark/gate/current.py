"""Records of the versions that are meant where a store holds a row in several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from labelattack import attacks, datasets, defenses, models
from labelattack.benchmark.boards.keys import pair_key_of
from labelattack.benchmark.boards.text import row_title, some
from labelattack.benchmark.plan.cell import CODE, Cell, attack_version, code_behind
from labelattack.benchmark.store.record import Record
from labelattack.registry.registry import Registry
from labelattack.training.protocols import registry as protocols

_REGISTRIES: dict[str, Registry[Any]] = {
    "dataset": datasets.registry,
    "model": models.registry,
    "attack": attacks.registry,
    "defense": defenses.registry,
}
_State = tuple[tuple[str, str], ...]


def current(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Leaves out the records of versions of a row that are not meant.

    A store often holds a row from before an edit and from after it. Meant are the versions that the
    code at hand has, as far as they are known without running a plug-in that was not loaded; else
    the last that were written.

    Args:
        records: Of a store, in any order.

    Returns:
        The records that stay, and a line on what is left out.
    """
    rows: dict[tuple[object, ...], dict[_State, list[Record]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in records:
        rows[_row(record)][_state(record)].append(record)
    kept: list[Record] = []
    others: dict[str, list[str]] = defaultdict(list)
    for states in rows.values():
        meant = next(iter(states)) if len(states) == 1 else _meant(states)
        kept += states[meant]
        title = row_title(pair_key_of(states[meant][0]))
        for state in states.keys() - {meant}:
            what = f"{_told(meant, state)} is taken, {_told(state, meant)} is left out"
            others[what].append(title)
    return kept, [f"{some(titles)}: {what}" for what, titles in sorted(others.items())]


def _row(record: Record) -> tuple[object, ...]:
    cell = record.cell
    return (
        cell.dataset, cell.model, cell.protocol, cell.recipe.epochs, cell.selection, cell.attack,
        cell.defense, cell.limit,
    )  # fmt: skip


def _state(record: Record) -> _State:
    """Data and versions of a record, which an edit changes without changing a name."""
    versions = {kind: record.cell.versions.get(kind, "") for kind in (*_REGISTRIES, CODE)}
    return (("fingerprint", record.cell.fingerprint), *versions.items())


def _meant(states: dict[_State, list[Record]]) -> _State:
    left: Collection[_State] = states
    cell = next(iter(states.values()))[0].cell
    for kind in (*_REGISTRIES, CODE):
        if len({dict(state)[kind] for state in left}) > 1:
            version = _at_hand(cell, kind)
            left = [state for state in left if dict(state)[kind] == version] or left
    return max(left, key=lambda state: (max(of.created for of in states[state]), state))


def _at_hand(cell: Cell, kind: str) -> str | None:
    """The version that the code at hand has of a cell's component; None if that is not known."""
    if kind == CODE:
        known = protocols.at_hand(cell.protocol.partition(":")[0])
        return code_behind(cell.protocol) if known else None
    spec, registry = str(getattr(cell, kind)), _REGISTRIES[kind]
    name = spec.partition(":")[0]
    if not registry.at_hand(name):
        return None
    if kind == "attack":
        return attack_version(registry.resolve(spec))
    return registry.version(name if kind == "dataset" else spec)


def _told(state: _State, other: _State) -> str:
    """Versions in which a state differs from another."""
    return ", ".join(
        f"{kind} {it}" if it else f"unedited {kind}"
        for kind, it in state
        if (kind, it) not in other
    )
