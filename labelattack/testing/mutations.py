"""Contract of mutation operators."""

from __future__ import annotations

import numpy as np

from labelattack import mutations
from labelattack.mutations.base import MutationOperator, Stage
from labelattack.testing.check import Kind, require

STAGES = (Stage(8, 4, 4, 4, 4), Stage(5, 7, 7, 3, 3), Stage(3, 2, 6, 2, 5))


def keeps_final_call(spec: str) -> None:
    """The base class checks shapes and ranges."""
    operator = type(mutations.create(spec))
    require(operator.__call__ is MutationOperator.__call__, "must not override __call__")


def is_deterministic(spec: str) -> None:
    """The seed is the only source of randomness."""
    for stage in STAGES:
        first, second = (mutations.create(spec)(stage, seed=3) for _ in range(2))
        require(np.array_equal(first, second), "must give the same mutants for the same seed")


def reaches_every_cell(spec: str) -> None:
    """No position is out of reach of all mutants."""
    for stage in STAGES:
        masks = mutations.create(spec)(stage)
        full = np.broadcast_to(masks.sum(axis=0), (stage.channels, stage.height, stage.width)).sum(
            axis=0
        )
        require(bool((full > 0).all()), "some mutant must lack part of every position")


KIND = Kind(
    mutations.registry,
    (
        keeps_final_call,
        is_deterministic,
        reaches_every_cell,
    ),
)
mutation_checks = KIND.checks
