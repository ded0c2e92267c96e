"""Choosing epoch and recipe on validation labels, never on test data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from labelattack.benchmark.store.record import Record
from labelattack.training.protocols import asked_protocol
from labelattack.training.recipe import CHOSEN


def best_on_validation(records: Iterable[Record]) -> Record | None:
    """The finished record with the best validation mAP; the first among equals, None if none.

    Where none has any, the first is taken, which is not chosen: its row says so.
    """
    done = [record for record in records if record.status == "done"]
    return max(done, key=lambda r: -1.0 if r.val_map is None else r.val_map, default=None)


def selected_runs(records: Iterable[Record]) -> list[Record]:
    """For each attack, defense, seed and setting, the recipe that validation chooses."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        # A searched parameter of a loss may have it trained by another protocol.
        same = cell.model_copy(update={"protocol": asked_protocol(cell.protocol)})
        groups[same.model_dump_json(exclude={"recipe": set(CHOSEN)})].append(record)
    return [best for group in groups.values() if (best := best_on_validation(group)) is not None]
