"""Missing positives that are written as negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import RateOf, draw_share
from labelattack.attacks.corruption import LabelCorruption
from labelattack.attacks.knowledge import Knowledge
from labelattack.labels import BoolArray, PartialLabels


@register("hidden-as-negative")
@dataclass(frozen=True, kw_only=True)
class HiddenAsNegative(LabelCorruption):
    """Turns a share of the positives into observed negatives.

    For one seed these are the positives that ``targeted`` hides at the same rate; all other labels
    stay. Data sets that cannot say "unknown" look like this. The published settings are those of
    ``targeted``: 0.4 and others.

    Args:
        rate: Share of the known positives that is changed, in [0, 1]: exactly
            round(rate * positives), drawn uniformly over the data set.
    """

    source: ClassVar[str] = "our definition; the targeted attack, assumed negative"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "positives"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4

    def flip(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Flips the positives that are drawn."""
        del knowledge
        return draw_share(labels.known_values, self.rate, rng)
