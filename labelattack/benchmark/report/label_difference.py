"""Differences between a label matrix before and after an attack, counted with numpy alone.

Nothing is taken for granted of the attack: an entry may have been hidden, have changed its value,
or have become known. Entries are compared in blocks of rows, so that labels that are stored as a
list are never made dense as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels import PartialLabels
from labelattack.labels.storage import IntArray

States = NDArray[np.uint8]
"""States of entries, uint8 ``[images, labels]``, see ``State``."""
_ENTRIES = 1 << 23  # compared at a time


class State(IntEnum):
    """What became of one entry of a label matrix."""

    UNKNOWN = 0
    NEGATIVE = 1
    POSITIVE = 2
    HIDDEN_NEGATIVE = 3
    HIDDEN_POSITIVE = 4
    CHANGED = 5
    ADDED = 6


_HIDDEN = State.HIDDEN_POSITIVE - State.POSITIVE  # what hiding adds to the state of a known entry


def states(before: PartialLabels, after: PartialLabels) -> States:
    """State of each entry; of labels before an attack, compare them with themselves.

    Args:
        before: Labels before the attack.
        after: Labels after it, of the same shape.

    Returns:
        uint8 ``[images, labels]``: known entries of equal value are ``POSITIVE`` or ``NEGATIVE``,
        those known before only are ``HIDDEN_POSITIVE`` or ``HIDDEN_NEGATIVE``, those known after
        only ``ADDED``, those of another value ``CHANGED``, the rest is ``UNKNOWN``.
    """
    known, left = before.observed, after.observed
    found = np.where(before.values, np.uint8(State.POSITIVE), np.uint8(State.NEGATIVE))
    found += np.uint8(_HIDDEN) * ~left
    found[known & left & (before.values != after.values)] = State.CHANGED
    found[~known] = np.where(left[~known], np.uint8(State.ADDED), np.uint8(State.UNKNOWN))
    return found


@dataclass(frozen=True)
class ClassCounts:
    """Counts of entries of each class, each int64 ``[labels]``.

    Attributes:
        positives: Known positives before the attack.
        removed_positives: Positives that are hidden after it.
        removed_negatives: Negatives that are hidden after it.
        changed: Entries known before and after whose value differs.
        added: Entries known after the attack only.
    """

    positives: IntArray
    removed_positives: IntArray
    removed_negatives: IntArray
    changed: IntArray
    added: IntArray

    def shares(self) -> list[float | None]:
        """Share of its positives that each class lost, in [0, 1]; None without positives."""
        pairs = zip(self.removed_positives.tolist(), self.positives.tolist(), strict=True)
        return [lost / had if had else None for lost, had in pairs]

    def by_share(self) -> list[int]:
        """Classes by share removed, the largest first; without positives last, ties in order."""
        shares = self.shares()
        return sorted(range(len(shares)), key=lambda n: 1.0 if (s := shares[n]) is None else -s)

    def by_frequency(self) -> IntArray:
        """Classes by positives before, the most frequent first, ties in order; int64."""
        return np.argsort(-self.positives, kind="stable").astype(np.int64)


def class_counts(before: PartialLabels, after: PartialLabels) -> ClassCounts:
    """Counts for each class what an attack did.

    Args:
        before: Labels before the attack.
        after: Labels after it.

    Raises:
        LabelError: If they have different shapes.
    """
    check_shapes(before, after)
    counted = (State.HIDDEN_POSITIVE, State.HIDDEN_NEGATIVE, State.CHANGED, State.ADDED)
    totals = np.zeros((len(counted), before.shape[1]), dtype=np.int64)
    for rows in _blocks(before.shape):
        found = states(before.take(rows), after.take(rows))
        for total, state in zip(totals, counted, strict=True):
            total += np.count_nonzero(found == state, axis=0)
    return ClassCounts(before.per_class("positives"), *totals)


def positives_per_image(before: PartialLabels, after: PartialLabels) -> IntArray:
    """Counts the images that have 0, 1, 2, ... known positives, before and after.

    Returns:
        int64 ``[2, most + 1]``; the first column counts images without any.
    """
    counts = [labels.per_image("positives") for labels in (before, after)]
    most = max((int(each.max()) for each in counts if len(each)), default=0)
    return np.stack([np.bincount(each, minlength=most + 1) for each in counts]).astype(np.int64)


def cooccurrence(labels: PartialLabels, classes: IntArray) -> IntArray:
    """Counts the images in which two classes are both known positives.

    Args:
        labels: The labels.
        classes: Indices of the classes, int64 ``[classes]``.

    Returns:
        int64 ``[classes, classes]``, in the order given; the diagonal counts positives.
    """
    total = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for rows in _blocks(labels.shape):
        # Exact: no block has as many rows as float32 has integers.
        block = labels.take(rows).values[:, classes].astype(np.float32)
        total += (block.T @ block).astype(np.int64)
    return total


def sample_images(labels: PartialLabels, classes: IntArray, most: int) -> IntArray:
    """Chooses images evenly spaced in the order of number of positives and pattern.

    Args:
        labels: Labels before the attack.
        classes: Indices of the classes that make the pattern, the first weighing most.
        most: Largest number of images, positive.

    Returns:
        Indices of all images, or of ``most`` of them, int64. The order is descending; images of
        equal positives stay as they are.
    """
    packed = [
        np.packbits(labels.take(rows).values[:, classes], axis=1) for rows in _blocks(labels.shape)
    ]
    pattern = np.concatenate(packed) if packed else np.zeros((0, 0), dtype=np.uint8)
    keys = [~column for column in pattern.T]
    # The last key of lexsort weighs most.
    order = np.lexsort((*reversed(keys), -labels.per_image("positives"))).astype(np.int64)
    count = len(order)
    if count <= most:
        return order
    return order[(2 * np.arange(most) + 1) * count // (2 * most)]


@dataclass(frozen=True)
class MatrixSample:
    """Some images and classes of a label matrix before and after an attack, in one order.

    Attributes:
        images: Indices of the images, int64.
        classes: Indices of the classes, int64.
        before: States before, uint8 ``[images, classes]``.
        after: States after, of the same shape.
    """

    images: IntArray
    classes: IntArray
    before: States
    after: States


def matrix_sample(
    before: PartialLabels, after: PartialLabels, classes: IntArray, images: IntArray
) -> MatrixSample:
    """Compares some images and classes of a label matrix.

    Args:
        before: Labels before the attack.
        after: Labels after it.
        classes: Indices of the classes, in the order wanted.
        images: Indices of the images, in the order wanted.
    """
    had, has = before.take(images), after.take(images)
    return MatrixSample(images, classes, states(had, had)[:, classes], states(had, has)[:, classes])


def remarks(shape: tuple[int, int], images: int, classes: int, shown: str) -> list[str]:
    """Says which part of a label matrix is shown; empty where all of it is.

    Args:
        shape: Number of images and number of labels.
        images: Largest number of images shown.
        classes: Largest number of classes shown.
        shown: Name of what is shown.
    """
    told = []
    if shape[0] > images:
        told.append(
            f"{shown}: {images} of {shape[0]:,} images, evenly spaced in the order of number of "
            "positives and pattern"
        )
    if shape[1] > classes:
        told.append(f"{shown}: the {classes} most frequent of {shape[1]} classes")
    return told


def check_shapes(before: PartialLabels, after: PartialLabels) -> None:
    """Raises LabelError unless labels before and after an attack have one shape."""
    if before.shape != after.shape:
        raise LabelError(
            f"labels after an attack must have the shape of those before, {before.shape}, "
            f"got {after.shape}"
        )


def class_table(names: Sequence[str], counts: ClassCounts) -> list[dict[str, str | float | None]]:
    """Lists what each class lost, sorted by the share of its positives that was removed.

    Args:
        names: Name of each class.
        counts: Their counts.

    Returns:
        A dictionary a class; shares are in [0, 1], None for a class without positives. Entries
        that became known are listed only if there are any.
    """
    shares = counts.shares()
    rows: list[dict[str, str | float | None]] = []
    for n in counts.by_share():
        row: dict[str, str | float | None] = {
            "class": names[n],
            "positives": int(counts.positives[n]),
            "removed_positives": int(counts.removed_positives[n]),
            "share": shares[n],
            "removed_negatives": int(counts.removed_negatives[n]),
            "changed": int(counts.changed[n]),
        }
        if counts.added.any():
            row["added"] = int(counts.added[n])
        rows.append(row)
    return rows


def _blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Slices of rows that hold about 8 million entries each."""
    step = max(_ENTRIES // max(shape[1], 1), 1)
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
