"""False positives among the negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import RateOf
from labelattack.attacks.corruption import LabelCorruption
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.strata import draw_count
from labelattack.labels import BoolArray, PartialLabels


@register("false-positives")
@dataclass(frozen=True, kw_only=True)
class FalsePositives(LabelCorruption):
    """Turns negatives into observed positives, as many as a share of the positives.

    round(rate * positives) known negatives, drawn uniformly over the data set, are changed, or all
    where there are fewer. The rate counts positives, as negatives are many: at rate 1 half of the
    observed positives are false. Our definition; there are no published settings.

    Args:
        rate: Number of changed negatives over that of the known positives, in [0, 1].
    """

    source: ClassVar[str] = "our definition; complement of missing positives"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "positives"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4

    def flip(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Flips the negatives that are drawn."""
        del knowledge
        positives = labels.known_positives
        flipped = np.zeros_like(labels.known_values)
        flipped[~labels.known_values] = draw_count(
            labels.known - positives, round(self.rate * positives), rng
        )
        return flipped
