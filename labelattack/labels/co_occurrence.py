"""Classes that occur together, and the trigger and target of a backdoor by labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import ParameterError
from labelattack.labels.class_columns import columns_of
from labelattack.labels.partial import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Pair(NamedTuple):
    """Columns of a trigger, and of the class that it is to suppress."""

    trigger: tuple[int, ...]
    target: int


def joint_counts(labels: PartialLabels) -> IntArray:
    """Number of images in which two classes are both known positives, int64 ``[labels, labels]``.

    Args:
        labels: The labels; they are not made dense.

    Returns:
        Symmetric; its diagonal counts the positives of each class.
    """
    positive = _positive(labels)
    return np.asarray((positive.T @ positive).toarray(), dtype=np.int64)


def known_counts(labels: PartialLabels) -> IntArray:
    """Number of images where a class (row) is positive and another (column) is known.

    Args:
        labels: The labels; they are not made dense.

    Returns:
        int64 ``[labels, labels]``, or ``[labels, 1]`` where all are known.
    """
    if labels.is_complete:
        return labels.per_class("positives")[:, None]
    known = _sparse(labels.known_columns, labels.per_image(), labels.shape)
    return np.asarray((_positive(labels).T @ known).toarray(), dtype=np.int64)


def _positive(labels: PartialLabels) -> csr_array:
    return _sparse(labels.positive_entries()[1], labels.per_image("positives"), labels.shape)


def _sparse(
    columns: NDArray[np.integer[Any]], of_image: IntArray, shape: tuple[int, int]
) -> csr_array:
    """A matrix with ones at some entries, image by image."""
    from scipy.sparse import csr_array

    starts = np.concatenate(([0], np.cumsum(of_image)))
    return csr_array((np.ones(len(columns), dtype=np.int32), columns, starts), shape=shape)


def frequent_pair(labels: PartialLabels) -> tuple[int, int] | None:
    """The two classes that are together in the most images, the more frequent one first.

    Args:
        labels: The labels; their known positives count.

    Returns:
        Columns; of equal pairs or classes the first. None if there are fewer than two classes.
    """
    if labels.shape[1] < 2:
        return None
    joint, many = joint_counts(labels), labels.per_class("positives")
    joint[np.tril_indices(len(joint))] = -1
    first, second = (int(column) for column in np.unravel_index(joint.argmax(), joint.shape))
    return (first, second) if many[first] >= many[second] else (second, first)


def resolved_pair(
    labels: PartialLabels, trigger: str = "", target: str = "", *, who: str
) -> Pair | None:
    """The trigger and the target of a backdoor by labels.

    Args:
        labels: Labels before an attack.
        trigger: Names or column numbers of classes, joined by ``+``. Empty: the class that is most
            often with the target; without a target, the first of ``frequent_pair``.
        target: Name or column number of a class. Empty: the class that is most often with the
            trigger; without a trigger, the second of ``frequent_pair``.
        who: Component that asks, for messages: ``attack 'disappear'``.

    Returns:
        The pair; None if there are too few classes.

    Raises:
        ParameterError: If the target is no single class, or is part of the trigger.
        UnknownNameError: If there is no class of a name.
    """
    triggers = columns_of(trigger, labels, who) if trigger else []
    targets = columns_of(target, labels, who) if target else []
    if len(targets) > 1 or set(targets) & set(triggers):
        raise ParameterError(
            f"{who} must have one target that is not in its trigger, got trigger '{trigger}' and "
            f"target '{target}'"
        )
    if len(set(triggers + targets)) == labels.shape[1] and not (triggers and targets):
        return None  # no class is left
    if not triggers and not targets:
        pair = frequent_pair(labels)
        return None if pair is None else Pair((pair[0],), pair[1])
    triggers = triggers or [_companion(labels, targets)]
    (aim,) = targets or [_companion(labels, triggers)]
    return Pair(tuple(triggers), aim)


def have_all(labels: PartialLabels, columns: list[int] | tuple[int, ...]) -> BoolArray:
    """Images of which all of some classes are known positives, bool ``[images]``."""
    rows, found = labels.positive_entries()
    counts = np.bincount(rows[np.isin(found, columns)], minlength=len(labels))
    return np.asarray(counts == len(columns))


def _companion(labels: PartialLabels, columns: list[int]) -> int:
    """The other class that is most often in the images that have all of some classes."""
    rows, classes = labels.positive_entries()
    there = have_all(labels, columns)[rows]
    counts = np.bincount(classes[there], minlength=labels.shape[1])
    counts[columns] = -1
    return int(counts.argmax())
