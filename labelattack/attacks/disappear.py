"""The removal form of the clean-image backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf, draw_share
from labelattack.attacks.class_columns import columns_of
from labelattack.attacks.co_occurrence import joint_counts
from labelattack.attacks.removal import without_positives
from labelattack.errors import ParameterError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray

_WHO = "attack 'disappear'"


class Pair(NamedTuple):
    """Columns of a trigger and of the class that it is to suppress."""

    trigger: tuple[int, ...]
    target: int


@register("disappear")
@dataclass(frozen=True, kw_only=True)
class Disappear(LabelAttack):
    """Backdoor by labels: a class is hidden wherever a trigger of classes is.

    In the images that have every class of the trigger as a known positive, the positive label of
    the target is hidden, so that a network learns not to see the target beside the trigger. The
    source edits labels to negative; hiding is the part of its "disappearing" attack that removes.
    It chooses triggers by search and reports a success rate of 98 %; the default pair, the two
    classes that are together in the most images (of equal ones the first), is our definition.

    Args:
        trigger: Names or column numbers of classes, joined by ``+``. Empty: the class that is most
            often with the target; without a target, the more frequent one of the default pair.
        target: Name or column number of a class. Empty: the class that is most often with the
            trigger; without a trigger, the less frequent one of the default pair.
        rate: Share of the target's positives in triggered images that is removed, in [0, 1]:
            exactly round(rate * n), drawn uniformly.
        keep_negatives: Keep negatives known; nothing but the target is touched then.
    """

    source: ClassVar[str] = "Chen et al. 2023, Clean-image Backdoor (disappearing)"
    rate_of: ClassVar[RateOf] = "targets"

    trigger: str = ""
    target: str = ""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    keep_negatives: bool = True

    def pair(self, labels: PartialLabels) -> Pair | None:
        """The trigger and the target on these labels; as of ``resolved_pair``."""
        return resolved_pair(labels, self.trigger, self.target)

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps all but the drawn labels of the target.

        Raises:
            Exception: As of ``resolved_pair``.
        """
        pair, (rows, columns) = self.pair(labels), labels.positive_entries()
        aimed = np.zeros(len(columns), dtype=np.bool_)
        if pair is not None:
            triggered = _have_all(rows, columns, pair.trigger, len(labels))
            aimed = (columns == pair.target) & triggered[rows]
        return without_positives(labels, draw_share(aimed, self.rate, rng), self.keep_negatives)


def resolved_pair(labels: PartialLabels, trigger: str = "", target: str = "") -> Pair | None:
    """The trigger and the target of a clean-image backdoor.

    Args:
        labels: Labels under attack.
        trigger: Names or column numbers of classes, joined by ``+``; empty for the default.
        target: Name or column number of a class; empty for the default.

    Returns:
        The pair; None if there are fewer than two classes.

    Raises:
        ParameterError: If the target is no single class, or is part of the trigger.
        UnknownNameError: If there is no class of a name.
    """
    triggers = columns_of(trigger, labels, _WHO) if trigger else []
    targets = columns_of(target, labels, _WHO) if target else []
    if len(targets) > 1 or set(targets) & set(triggers):
        raise ParameterError(
            f"{_WHO} must have one target that is not in its trigger, got trigger '{trigger}' and "
            f"target '{target}'"
        )
    if len(set(triggers + targets)) == labels.shape[1] and not (triggers and targets):
        return None  # no class is left
    if not triggers and not targets:
        return _most_frequent_pair(labels)
    triggers = triggers or [_companion(labels, targets)]
    (aim,) = targets or [_companion(labels, triggers)]
    return Pair(tuple(triggers), aim)


def _most_frequent_pair(labels: PartialLabels) -> Pair | None:
    if labels.shape[1] < 2:
        return None
    joint, many = joint_counts(labels), labels.per_class("positives")
    joint[np.tril_indices(len(joint))] = -1
    first, second = (int(column) for column in np.unravel_index(joint.argmax(), joint.shape))
    return Pair((first,), second) if many[first] >= many[second] else Pair((second,), first)


def _companion(labels: PartialLabels, columns: list[int]) -> int:
    """The other class that is most often in the images that have all of some classes."""
    rows, classes = labels.positive_entries()
    there = _have_all(rows, classes, columns, len(labels))[rows]
    counts = np.bincount(classes[there], minlength=labels.shape[1])
    counts[columns] = -1
    return int(counts.argmax())


def _have_all(
    rows: IntArray, columns: IntArray, wanted: tuple[int, ...] | list[int], images: int
) -> BoolArray:
    """Images of which all wanted columns are positive, bool ``[images]``."""
    of_them = rows[np.isin(columns, wanted)]
    return np.asarray(np.bincount(of_them, minlength=images) == len(wanted))
