"""Positives that go together with a more frequent one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks import register
from labelattack.attacks.removal import PositiveRemoval
from labelattack.labels import PartialLabels
from labelattack.labels.co_occurrence import joint_counts, known_counts

if TYPE_CHECKING:
    pass


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
    references: ClassVar[str] = "labelattack"

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
        chances = joint_counts(labels) / np.maximum(known_counts(labels), 1)
        return np.where(columns == anchors, -1.0, chances[anchors, columns])
