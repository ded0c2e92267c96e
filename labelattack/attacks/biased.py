"""Base of attacks that keep positives with unequal chances within an image."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.attacks.base import RateOf
from labelattack.attacks.informed import InformedAttack
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.removal import (
    first_of,
    first_within,
    weighted_order,
    without_positives,
)
from labelattack.labels import BoolArray, PartialLabels


@dataclass(frozen=True, kw_only=True)
class BiasedAttack(InformedAttack):
    """Keeps positives with chances in proportion to weights, and removes the others.

    Without a rate, one positive of each image stays, as published. With a rate, which is our
    definition, an image's weights are divided by their sum, so that images count alike, and over
    the data set the positives that stay are drawn without replacement, each next one with chances
    in proportion to these.

    Args:
        rate: Share of the known positives that is removed, in [0, 1]: exactly
            round(rate * positives); ``none`` keeps one positive of each image.
        keep_negatives: Keep negatives known.
    """

    rate_of: ClassVar[RateOf] = "positives"

    rate: Annotated[float, Field(ge=0, le=1)] | None = None
    keep_negatives: bool = False

    @abstractmethod
    def weights_of(self, labels: PartialLabels, knowledge: Knowledge) -> NDArray[Any]:
        """Weight of each known positive, image by image, from 0, ``[positives]``."""

    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Keeps the positives that are drawn."""
        rows, _ = labels.positive_entries()
        chances = image_chances(self.weights_of(labels, knowledge), rows, len(labels))
        order = weighted_order(chances, rng)
        if self.rate is None:
            one = np.ones(len(labels), dtype=np.int64)
            removed = ~first_within(order, labels.per_image("positives"), one, rng)
        else:
            removed = first_of(-order, self.rate, rng)
        return without_positives(labels, removed, self.keep_negatives)


def image_chances(
    weights: NDArray[Any], rows: NDArray[np.int64], images: int
) -> NDArray[np.float64]:
    """Weights divided by their sum over each image; uniform where all of an image's are 0.

    Args:
        weights: Weight of each item, from 0, ``[items]``.
        rows: Image of each item, int64 ``[items]``.
        images: Number of images.

    Returns:
        float64 ``[items]``, in [0, 1]; they add up to 1 over each image that has items.
    """
    sums = np.bincount(rows, weights, minlength=images)[rows]
    counts = np.bincount(rows, minlength=images)[rows]
    chances: NDArray[np.float64] = np.where(sums > 0, weights, 1) / np.where(sums > 0, sums, counts)
    return chances
