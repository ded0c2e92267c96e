"""Choosing epoch and recipe on validation labels, never on test data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from labelattack.attacks.base import LabelAttack
from labelattack.benchmark.grid import Selection
from labelattack.benchmark.store import Record
from labelattack.labels import BoolArray
from labelattack.seeding import stream_seed


class ValidationLabels(NamedTuple):
    """Labels for selection, the cells that count (None: all), and the name of the rule."""

    labels: BoolArray
    scored: BoolArray | None
    rule: str


def validation_labels(
    attack: LabelAttack, clean: BoolArray, selection: Selection, *, seed: int
) -> ValidationLabels:
    """What selection may see of the validation labels.

    Args:
        attack: The attack on the training labels; it hits the validation labels too.
        clean: Clean validation labels, bool ``[images, labels]``.
        selection: ``attacked``, or ``clean``, which is privileged.
        seed: Seed of the run.

    Returns:
        Under an attack that leaves observed negatives, the observed cells; otherwise all cells,
        hidden ones as negatives.
    """
    if selection == "clean":
        return ValidationLabels(clean, None, "clean validation labels")
    attacked = attack(clean, seed=stream_seed(seed, "validation"))
    if not attacked.hidden.any():
        return ValidationLabels(clean, None, "nothing hidden")
    if attacked.negatives.any():
        return ValidationLabels(attacked.values, attacked.observed, "observed cells")
    return ValidationLabels(attacked.values, None, "hidden as negative")


def best_on_validation(records: Iterable[Record]) -> Record | None:
    """The finished record with the best validation mAP; the first among equals, None if none."""
    done = [record for record in records if record.status == "done"]
    return max(done, key=lambda r: -1.0 if r.val_map is None else r.val_map, default=None)
