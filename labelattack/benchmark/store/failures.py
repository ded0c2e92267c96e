"""Failed cells and their reasons."""

from __future__ import annotations

from collections.abc import Iterable

from labelattack.attacks import registry as attacks
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses


def failed_of(records: Iterable[Record]) -> list[Record]:
    """The records of failed cells."""
    return [record for record in records if record.status == "failed"]


def failure_lines(records: Iterable[Record]) -> list[str]:
    """A line for each defense, attack and reason among failed cells; equal ones are counted."""
    alike: dict[tuple[str, str], list[Record]] = {}
    for record in failed_of(records):
        cell = record.cell
        pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        alike.setdefault((pair, record.reason), []).append(record)
    lines = []
    for (pair, reason), members in alike.items():
        first = members[0].cell
        which = f"lr {first.recipe.rate_text()}, seed {first.seed}"
        more = f" and {len(members) - 1} more runs" if len(members) > 1 else ""
        lines.append(f"{pair}, {which}{more}: {reason}")
    return lines
