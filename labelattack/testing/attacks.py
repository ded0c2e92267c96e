"""Contract of attacks: those that remove labels, and those that change them."""

from __future__ import annotations

import numpy as np

from labelattack import attacks
from labelattack.attacks.base import Attack
from labelattack.attacks.knowledge import NOTHING, HeldOut, Knowledge, asked_needs
from labelattack.errors import AttackError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.objects import ImageObjects
from labelattack.testing.check import Kind, example_labels, example_partial_labels, require


def example_knowledge(images: int, labels: int) -> Knowledge:
    """Made-up knowledge of every kind.

    Args:
        images: Number of images.
        labels: Number of labels.
    """
    draw = np.random.Generator(np.random.PCG64(3))
    scores, areas = (draw.random((images, labels), dtype=np.float32) for _ in range(2))
    features, others = (draw.random((n, 5), dtype=np.float32) for n in (images, 30))
    held_out = HeldOut(others, PartialLabels.full(draw.random((30, labels)) < 0.4))
    weights = draw.random(labels)
    corners = draw.random((labels, 4)) * 50 + np.array([0, 0, 50, 50])
    objects = [
        ImageObjects(np.arange(labels), corners + row % 7, draw.random(labels) * 99, (99.0, 120.0))
        for row in range(images)
    ]
    groups = tuple(str(row // 4) for row in range(images))
    return Knowledge(
        {
            "scores": lambda: scores,
            "areas": lambda: areas,
            "features": lambda: features,
            "held_out": lambda: held_out,
            "weights": lambda: weights,
            "boxes": lambda: objects,
            "groups": lambda: groups,
        }
    )


def attacked(attack: Attack, labels: BoolArray | PartialLabels, seed: int = 0) -> PartialLabels:
    """Labels that an attack leaves, with made-up knowledge if it needs some."""
    knowledge = example_knowledge(*labels.shape) if attack.needs else NOTHING
    return attack(labels, seed=seed, knowledge=knowledge)


def keeps_final_call(spec: str) -> None:
    """The base class checks and counts."""
    require(type(attacks.create(spec)).__call__ is Attack.__call__, "must not override __call__")


def is_deterministic(spec: str) -> None:
    """The seed is the only source of randomness."""
    first, second = (attacked(attacks.create(spec), example_labels(), 3) for _ in range(2))
    require(first == second, "must give the same labels for the same seed")


def hides_or_changes(spec: str) -> None:
    """An attack hides labels and edits none, or it is a corruption and hides none."""
    labels, attack = example_labels(), attacks.create(spec)
    left = attacked(attack, labels)
    require(np.array_equal(labels, example_labels()), "must not change its input")
    if attack.changes:
        require(left.is_complete, "must not hide a label")
    else:
        kept = np.array_equal(left.values[left.observed], labels[left.observed])
        require(kept, "must not change a surviving label")


def takes_partial_labels(spec: str) -> None:
    """Labels may be unknown to begin with, and be given as arrays or as a list of entries."""
    attack, dense = attacks.create(spec), example_partial_labels()
    rows, columns = np.nonzero(dense.observed)
    entries = PartialLabels.from_entries(dense.shape, rows, columns, dense.known_values)
    left = attacked(attack, dense)
    require(left == attacked(attack, entries), "must not depend on the storage")
    require(not (left.observed & dense.hidden).any(), "must not make a hidden label known")
    nothing = PartialLabels(dense.values, np.zeros_like(dense.values))
    require(attacked(attack, nothing).known == 0, "must take labels of which none is known")


def takes_edge_cases(spec: str) -> None:
    """Label matrices may be empty, or of one row or column."""
    for shape in ((0, 3), (1, 1), (5, 1), (1, 5)):
        for fill in (False, True):
            attacked(attacks.create(spec), np.full(shape, fill))


def budgets_are_nested(spec: str) -> None:
    """A stronger attack removes or changes what a weaker one does, and more."""
    labels, attack = example_labels(), attacks.create(spec)
    whole, smaller = PartialLabels.full(labels), np.zeros_like(labels)
    for strength in (0.0, 0.2, 0.5, 0.8, 1.0):
        left = attacked(attack.at_strength(strength, whole), labels, 1)
        hit = left.hidden | (left.values != labels)
        rule = f"must hit at strength {strength} what it hits at less"
        require(not (smaller & ~hit).any(), rule)
        smaller = hit


def asks_for_knowledge(spec: str) -> None:
    """An attack that needs knowledge says what is missing, and how to give it."""
    attack = attacks.create(spec)
    if not asked_needs(attack):
        return
    try:
        attack(example_labels(), seed=0)
    except AttackError:
        return
    require(False, "must refuse to run without the knowledge that it declares")


KIND = Kind(
    attacks.registry,
    (
        keeps_final_call,
        is_deterministic,
        hides_or_changes,
        takes_partial_labels,
        takes_edge_cases,
        budgets_are_nested,
        asks_for_knowledge,
    ),
)
attack_checks = KIND.checks
