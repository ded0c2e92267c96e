"""Contract of attacks."""

from __future__ import annotations

from inspect import signature

import numpy as np

from labelattack import attacks
from labelattack.attacks.base import LabelAttack
from labelattack.labels import PartialLabels
from labelattack.registry.spec import Spec
from labelattack.testing.check import Kind, example_labels, example_partial_labels, require


def keeps_final_call(spec: str) -> None:
    """The base class checks and counts."""
    require(
        type(attacks.create(spec)).__call__ is LabelAttack.__call__, "must not override __call__"
    )


def is_deterministic(spec: str) -> None:
    """The seed is the only source of randomness."""
    first, second = (attacks.create(spec)(example_labels(), seed=3) for _ in range(2))
    require(first == second, "must give the same labels for the same seed")


def changes_no_label(spec: str) -> None:
    """Labels are hidden, never edited."""
    labels = example_labels()
    left = attacks.create(spec)(labels, seed=0)
    require(np.array_equal(labels, example_labels()), "must not change its input")
    kept = np.array_equal(left.values[left.observed], labels[left.observed])
    require(kept, "must not change a surviving label")


def takes_partial_labels(spec: str) -> None:
    """Labels may be unknown to begin with, and be given as arrays or as a list of entries."""
    attack, dense = attacks.create(spec), example_partial_labels()
    rows, columns = np.nonzero(dense.observed)
    entries = PartialLabels.from_entries(dense.shape, rows, columns, dense.known_values)
    require(attack(dense, seed=0) == attack(entries, seed=0), "must not depend on the storage")
    nothing = PartialLabels(dense.values, np.zeros_like(dense.values))
    require(attack(nothing, seed=0).known == 0, "must take labels of which none is known")


def takes_edge_cases(spec: str) -> None:
    """Label matrices may be empty, or of one row or column."""
    for shape in ((0, 3), (1, 1), (5, 1), (1, 5)):
        for fill in (False, True):
            attacks.create(spec)(np.full(shape, fill), seed=0)


def budgets_are_nested(spec: str) -> None:
    """A higher rate removes what a lower one does, and more."""
    name = Spec.parse(spec).name
    params = dict(Spec.parse(spec).params)
    if "rate" not in signature(attacks.registry.get(name)).parameters:
        return
    smaller = np.zeros_like(example_labels())
    for rate in (0.0, 0.2, 0.5, 0.8, 1.0):
        with_rate = attacks.create(Spec.of(name, {**params, "rate": rate}))
        hidden = with_rate(example_labels(), seed=1).hidden
        require(not (smaller & ~hidden).any(), f"must remove at rate {rate} what less removes")
        smaller = hidden


KIND = Kind(
    attacks.registry,
    (
        keeps_final_call,
        is_deterministic,
        changes_no_label,
        takes_partial_labels,
        takes_edge_cases,
        budgets_are_nested,
    ),
)
attack_checks = KIND.checks
