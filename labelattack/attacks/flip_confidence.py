"""Flipped labels where a model is least sure of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.corruption import LabelCorruption
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.attacks.removal import first_of
from labelattack.files.storage import TablePath
from labelattack.labels import BoolArray, PartialLabels


@register("flip-confidence")
@dataclass(frozen=True, kw_only=True)
class FlipConfidence(LabelCorruption):
    """Flips the labels that a model contradicts most.

    The round(positive_rate * positives) positives of the lowest scores become observed negatives,
    and the round(negative_rate * negatives) negatives of the highest scores observed positives;
    equal scores are drawn at random. In the manner of IDMN, which flips positives below the r-th
    percentile of the positives' scores and negatives above their (100 - r)-th, with r of 10, 20, 30
    and 40 and scores of CLIP; exact counts of each sign are our definition.

    Args:
        positive_rate: Share of the known positives that is flipped, in [0, 1].
        negative_rate: Share of the known negatives that is flipped, in [0, 1].
        scores: A file with a score of each label on each image; none means those of a model that
            the benchmark trains.
    """

    source: ClassVar[str] = "in the manner of IDMN (youngwk/IDMN)"
    references: ClassVar[str] = "kim2024"
    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    positive_rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    negative_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    scores: TablePath | None = None

    def flip(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Flips positives of low and negatives of high scores."""
        positive, scores = labels.known_values, labels.at_known(knowledge.scores)
        flipped = np.zeros_like(positive)
        flipped[positive] = first_of(scores[positive], self.positive_rate, rng, smallest=True)
        if self.negative_rate:  # drawn last, so that leaving it out changes nothing
            negative = ~positive
            flipped[negative] = first_of(scores, self.negative_rate, rng, among=negative)
        return flipped
