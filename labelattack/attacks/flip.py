"""Flipped labels, without regard to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import draw_share
from labelattack.attacks.corruption import LabelCorruption
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.strata import draw_count, draw_within_strata
from labelattack.files.storage import FilePath
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.side_lookup import table_of


@register("flip")
@dataclass(frozen=True, kw_only=True)
class Flip(LabelCorruption):
    """Flips a share of the positives, and a share of the negatives.

    round(positive_rate * positives) positives become observed negatives, and
    round(negative_rate * negatives) negatives observed positives, drawn uniformly over the data
    set. The source flips each entry with that chance; exact counts are our definition. Its settings
    (positive, negative) are 0.2, 0; 0.6, 0; 0, 0.2; 0, 0.6; 0.1, 0.1; 0.2, 0.2; 0.2, 0.0172 and
    0.4, 0.0343 on VOC, and 0.2, 0.00752 and 0.4, 0.01504 on COCO.

    Args:
        positive_rate: Share of the known positives that is flipped, in [0, 1].
        negative_rate: Share of the known negatives that is flipped, in [0, 1].
        rates: A table ``class,weight`` with the share of each class's positives that is flipped:
            exactly round(weight * n) of the n of a class. It takes the place of
            ``positive_rate``; empty for none.
    """

    source: ClassVar[str] = "Li et al. 2022 (NeurIPS), class-independent flips"
    references: ClassVar[str] = "li2022"

    positive_rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    negative_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    rates: FilePath = ""

    def flip(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Flips the entries that are drawn.

        Raises:
            LabelError: If the file of rates is refused.
        """
        del knowledge
        positive = labels.known_values
        if self.rates:
            flipped = np.zeros_like(positive)
            sizes = labels.per_class("positives")
            shares = table_of("weights", self.rates, labels, "attack 'flip'")
            counts = np.rint(shares * sizes).astype(np.int64)
            _, columns = labels.positive_entries()
            flipped[positive] = draw_within_strata(columns, sizes, counts, rng)
        else:
            flipped = draw_share(positive, self.positive_rate, rng)
        if self.negative_rate:  # drawn last, so that leaving it out changes nothing
            negatives = labels.known - labels.known_positives
            flipped[~positive] = draw_count(negatives, round(self.negative_rate * negatives), rng)
        return flipped
