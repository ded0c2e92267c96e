"""Negatives are missing, positives are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf
from labelattack.attacks.strata import draw_count
from labelattack.labels import BoolArray, PartialLabels


@register("negatives-only")
@dataclass(frozen=True, kw_only=True)
class NegativesOnly(LabelAttack):
    """Removes a share of the negatives; positives stay.

    The complement of ``targeted``, our definition: it tells what a loss owes to known negatives.
    There are no published settings.

    Args:
        rate: Share of the known negatives that is removed, in [0, 1]: exactly
            round(rate * negatives), drawn uniformly over the data set.
    """

    source: ClassVar[str] = "our definition; complement of the targeted attack"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "negatives"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps all positives, and the negatives that are not drawn."""
        kept = labels.known_values.copy()
        negatives = labels.known - labels.known_positives
        kept[~kept] = ~draw_count(negatives, round(self.rate * negatives), rng)
        return kept
