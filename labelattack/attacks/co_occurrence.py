"""Positives that go together with a more frequent one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks import register
from labelattack.attacks.removal import PositiveRemoval
from labelattack.labels import PartialLabels
from labelattack.labels.storage import IntArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register("co-occurrence")
@dataclass(frozen=True, kw_only=True)
class CoOccurrence(PositiveRemoval):
    """Removes first the positives that an image's most frequent class implies.

    In each image the anchor is the positive of the class that has the most known positives in the
    data (of equal ones the first). The other positives are removed in falling order of
    P(class | anchor class), the share of positives among the images where the anchor's class is a
    known positive and the class is known; anchors come last, in random order. All negatives are
    removed. Our definition, the inverse of the co-occurrence priors of label graphs; there are no
    published settings.
    """

    source: ClassVar[str] = "our definition; inverse of label-graph priors"

    def priority(self, labels: PartialLabels, rng: np.random.Generator) -> NDArray[np.float64]:
        """Orders positives by their chance, given the image's anchor; anchors have -1."""
        del rng
        _, columns = labels.positive_entries()
        if not len(columns):
            return np.zeros(0)
        many = labels.per_image("positives")
        by_frequency = np.argsort(-labels.per_class("positives"), kind="stable")
        rank = np.argsort(by_frequency)
        there = many > 0
        starts = (np.cumsum(many) - many)[there]
        anchors = np.repeat(by_frequency[np.minimum.reduceat(rank[columns], starts)], many[there])
        chances = joint_counts(labels) / np.maximum(_known_counts(labels), 1)
        return np.where(columns == anchors, -1.0, chances[anchors, columns])


def joint_counts(labels: PartialLabels) -> IntArray:
    """Number of images in which two classes are both known positives, int64 ``[labels, labels]``.

    Args:
        labels: The labels; they are not made dense.

    Returns:
        Symmetric; its diagonal counts the positives of each class.
    """
    positive = _positive(labels)
    return np.asarray((positive.T @ positive).toarray(), dtype=np.int64)


def _known_counts(labels: PartialLabels) -> IntArray:
    """Number of images where a class (row) is positive and another (column) is known, int64."""
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
