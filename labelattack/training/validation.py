"""Validation labels that selection may see, never test data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from labelattack.attacks.base import Attack
from labelattack.attacks.knowledge import NOTHING, Knowledge
from labelattack.datasets.base import Split
from labelattack.errors import ParameterError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.seeding import stream_seed
from labelattack.training.recipe import Selection

NOT_CHOSEN = "nothing to choose by: no positive among them"
"""Rule of a run whose validation mAP is undefined in every epoch: the last one is taken."""


LAST_EPOCH = "last epoch, nothing selected"
"""Rule of a run whose last epoch is taken because it was asked for."""


class ValidationLabels(NamedTuple):
    """Labels for selection, the cells that count (None: all), and the name of the rule."""

    labels: BoolArray
    scored: BoolArray | None
    rule: str

    @property
    def takes_last(self) -> bool:
        """Whether the last epoch is taken, whatever its validation mAP."""
        return self.rule == LAST_EPOCH

    def rule_for(self, scores: Iterable[float | None]) -> str:
        """The rule by which one of several epochs was chosen, given the validation mAP of each."""
        if self.takes_last:
            return self.rule
        return self.rule if any(score is not None for score in scores) else NOT_CHOSEN


def validation_labels(
    attack: Attack,
    split: Split,
    selection: Selection,
    *,
    seed: int,
    knowledge: Knowledge = NOTHING,
) -> ValidationLabels:
    """Validation labels that selection may see; never those that are unknown to begin with.

    Args:
        attack: The attack on the training labels; it hits the validation labels too.
        split: The validation split.
        selection: ``attacked``, ``clean``, which is privileged, or ``last``, which selects nothing
            and has attacked labels for other uses.
        seed: Seed of the run.
        knowledge: Knowledge of the validation images, for attacks that need it.

    Returns:
        Under an attack that leaves observed negatives, the observed entries; otherwise all entries,
        hidden ones as negatives.
    """
    every = "clean" if split.partial.is_complete else "known"
    if selection == "clean":
        return ValidationLabels(split.labels, split.counted, f"{every} validation labels")
    attacked = attack(split.partial, seed=stream_seed(seed, "validation"), knowledge=knowledge)
    found = _of_attacked(split, attacked)
    return found._replace(rule=LAST_EPOCH) if selection == "last" else found


def _of_attacked(split: Split, attacked: PartialLabels) -> ValidationLabels:
    """Labels that an attack on a validation split leaves."""
    if attacked.known == split.partial.known:
        changed = not np.array_equal(attacked.known_values, split.partial.known_values)
        rule = "observed cells" if changed else "nothing hidden"
        return ValidationLabels(attacked.values, split.counted, rule)
    if attacked.known > attacked.known_positives:
        return ValidationLabels(attacked.values, attacked.observed, "observed cells")
    return ValidationLabels(attacked.values, None, "hidden as negative")


def choice_text(rule: str) -> str:
    """Sentence on how epochs and recipes of a row were chosen, given its rules."""
    if rule == LAST_EPOCH:
        return rule
    if rule == NOT_CHOSEN:
        return f"last epoch and first recipe: the validation labels had {NOT_CHOSEN}"
    return f"epoch and recipe chosen on validation labels, {rule}"


def check_choice(split: Split, recipes: int, selection: Selection) -> None:
    """Checks that validation labels can choose among recipes.

    Args:
        split: The validation split.
        recipes: How many are searched.
        selection: Whose validation labels choose.

    Raises:
        ParameterError: If there are several and no label is positive, or nothing is to be selected.
    """
    if recipes > 1 and selection == "last":
        raise ParameterError(
            f"selection 'last' selects nothing, so there must be one recipe, got {recipes}; give "
            "one --lr and one --batch-size, or --trials 1"
        )
    if recipes > 1 and not split.class_counts[0].any():
        raise ParameterError(
            f"validation labels must have a positive to choose among {recipes} recipes by, got "
            "none; give one --lr and one --batch-size, or validation images with positives"
        )
