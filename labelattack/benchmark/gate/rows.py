"""Rows of a baseline and the same ones now."""

from __future__ import annotations

from collections.abc import Iterator

from labelattack.benchmark.boards.keys import BoardKey, PairKey
from labelattack.benchmark.gate.baseline import Baseline, BaselineRow


def matched(
    old: list[BaselineRow], new: list[BaselineRow], *, same_versions: bool
) -> Iterator[tuple[BaselineRow, BaselineRow | None]]:
    """Each row then with the one now, None if there is none.

    Of several versions of a row then, those that are not there now are passed over for one that is.
    """
    exact = {row.pair: row for row in new}
    by_name = {name_of(row): row for row in new}
    settled = {name_of(row) for row in old if row.pair in exact}
    for before in old:
        if same_versions or before.pair in exact:
            yield before, exact.get(before.pair)
        elif name_of(before) not in settled:
            yield before, by_name.get(name_of(before))


def name_of(row: PairKey) -> tuple[str, str]:
    """Attack and defense of a row, whatever their versions."""
    return row.attack, row.defense


def why_absent(wanted: BoardKey, pair: PairKey, now: Baseline) -> str:
    """Why a row cannot be found now."""
    if not now.boards:
        return "nothing was run"
    held = {b.identity: [r for r in b.rows if name_of(r) == name_of(pair)] for b in now.boards}
    # The row itself on a board of other images or versions tells more than the board it left.
    moved = [other for other, rows in held.items() if rows and _alike(other, wanted)]
    nearest = min(moved or held, key=lambda other: len(_differing(wanted, other)))
    told = _differing(wanted, nearest)
    if not told and (rows := held[nearest]):
        told = [f"versions {pair.versions} then, {rows[-1].versions} now"]
    return "; ".join(told) or "not run now"


def _alike(one: BoardKey, other: BoardKey) -> bool:
    free = {"fingerprint", "versions"}
    return one.model_dump(exclude=free) == other.model_dump(exclude=free)


def _differing(then: BoardKey, now: BoardKey) -> list[str]:
    return [
        f"{name} {old} then, {new} now"
        for (name, old), (_, new) in zip(then, now, strict=True)
        if old != new
    ]
