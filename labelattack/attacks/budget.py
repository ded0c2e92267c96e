"""Equal budgets: attacks set so that each removes the same number of positives or entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from labelattack.attacks.base import Attack, RateOf
from labelattack.attacks.knowledge import NOTHING, Knowledge, name_of
from labelattack.errors import AttackError, ParameterError, unknown
from labelattack.labels import PartialLabels

Counted = Literal["positives", "entries"]
COUNTED: tuple[Counted, ...] = ("positives", "entries")
_RATE_OF: dict[Counted, RateOf] = {"positives": "positives", "entries": "labels"}
_TOLERANCE = 0.01  # of the number to remove; some attacks remove groups of entries at a time
_ATTEMPTS = 40  # halvings tell more strengths apart than any data set has entries


class Budget(NamedTuple):
    """Labels that an attack removes: a share of the known positives, or of all known entries.

    Attributes:
        counted: Labels of which ``share`` is taken.
        share: Share that is removed, in [0, 1].
    """

    counted: Counted
    share: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Parses ``positives=0.4`` or ``entries=0.4``.

        Raises:
            UnknownNameError: If something else is counted.
            ParameterError: If the text has another form, or the share is not in [0, 1].
        """
        counted, sign, value = text.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not sign or not 0 <= share <= 1:
            raise ParameterError(
                "budget must be positives=SHARE or entries=SHARE with a share from 0 to 1, got "
                f"'{text}'"
            )
        for name in COUNTED:
            if counted == name:
                return cls(name, share)
        raise unknown("budget of", counted, COUNTED)

    def __str__(self) -> str:
        return f"{self.counted}={self.share:g}"

    def of(self, labels: PartialLabels) -> int:
        """Number of the labels that are counted."""
        return labels.known_positives if self.counted == "positives" else labels.known


class Attacked(NamedTuple):
    """An attack that is set to a budget, and the labels that it leaves."""

    attack: Attack
    labels: PartialLabels


def at_budget(
    attack: Attack,
    budget: Budget,
    labels: PartialLabels,
    *,
    seed: int,
    knowledge: Knowledge = NOTHING,
) -> Attacked:
    """Sets an attack so that it removes as much as a budget says, and attacks with it.

    As budgets of an attack are nested, the number that is removed grows with its strength, and
    halving finds the strength; an attack whose rate is of the labels that the budget counts needs
    no search.

    Args:
        attack: The attack; its rate does not matter.
        budget: Labels to remove.
        labels: Labels before the attack.
        seed: Seed of the attack.
        knowledge: Knowledge of the images.

    Raises:
        AttackError: If it changes labels instead of removing them, or at no strength removes the
            number within 1 %.
    """
    check_removes(attack, budget)
    total = budget.of(labels)
    wanted = round(budget.share * total)

    def attempt(strength: float) -> tuple[int, Attacked]:
        stronger = attack.at_strength(strength, labels)
        left = stronger(labels, seed=seed, knowledge=knowledge)
        return total - budget.of(left), Attacked(stronger, left)

    # Where the rate is a share of what is counted, the first attempt is the last. Elsewhere it
    # follows from the number, so that budgets of one number are one budget and others are nested.
    counts_the_same = attack.rate_of == _RATE_OF[budget.counted]
    strength = budget.share if counts_the_same else wanted / max(total, 1)
    found = attempt(strength)
    if found[0] != wanted and found[1].attack is not attack:
        found = _nearest(attempt, wanted, strength, found)
    removed, best = found
    if abs(removed - wanted) > max(1, _TOLERANCE * wanted):
        raise AttackError(
            f"attack '{name_of(attack)}' must remove {wanted} of {total} {budget.counted} "
            f"({budget}), got {removed} as the nearest that it can; leave it out, or give another "
            "budget"
        )
    return best


def _nearest(
    attempt: Callable[[float], tuple[int, Attacked]],
    wanted: int,
    strength: float,
    first: tuple[int, Attacked],
) -> tuple[int, Attacked]:
    """Of attempts by halving, the one that removes nearest to a number.

    Args:
        attempt: Number that is removed at a strength, and by what.
        wanted: The number.
        strength: Strength of the first attempt.
        first: What it came to.
    """
    best = first
    low, high = (strength, 1.0) if first[0] < wanted else (0.0, strength)
    strength = 1.0 if first[0] < wanted else 0.0
    for _ in range(_ATTEMPTS):
        found = attempt(strength)
        if abs(found[0] - wanted) < abs(best[0] - wanted):
            best = found
        if found[0] < wanted:
            low = strength
        elif found[0] > wanted:
            high = strength
        if found[0] == wanted or low >= high:
            break
        strength = (low + high) / 2
    return best


def check_removes(attack: Attack, budget: Budget) -> None:
    """Checks that an attack removes labels, which is all that a budget counts.

    Args:
        attack: The attack.
        budget: The budget.

    Raises:
        AttackError: If it changes labels.
    """
    if attack.changes:
        raise AttackError(
            f"budget {budget} counts removed labels, so attacks must remove some, got "
            f"'{name_of(attack)}', which changes labels"
        )
