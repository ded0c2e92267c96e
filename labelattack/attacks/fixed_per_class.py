"""A fixed number of known labels for each class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack
from labelattack.attacks.strata import draw_within_strata
from labelattack.labels import BoolArray, PartialLabels


@register("fixed-per-class")
@dataclass(frozen=True, kw_only=True)
class FixedPerClass(LabelAttack):
    """FPC: keeps as many positives and as many negatives of each class.

    Of a class with n known positives and m known negatives, min(count, n) positives and
    min(count, m) negatives stay, drawn uniformly; all else is hidden. For one seed, what a count
    keeps a larger count keeps too. The source keeps 1,000 of each on COCO, with other counts in a
    figure.

    Args:
        count: Number of positives, and of negatives, that each class keeps.
    """

    source: ClassVar[str] = "Ben-Baruch et al. 2022 (CSL), fixed per class"
    references: ClassVar[str] = "benbaruch2022"

    count: Annotated[int, Field(ge=0, lt=2**63)] = 1000

    def at_strength(self, strength: float, labels: PartialLabels) -> Self:
        """The same attack with a count from all entries of the largest class down to none."""
        return replace(self, count=round((1 - strength) * int(labels.per_class().max(initial=0))))

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the drawn entries of each class and sign."""
        known, positive = labels.per_class(), labels.per_class("positives")
        sizes = np.stack([known - positive, positive], axis=1).reshape(-1)
        dtype = np.min_scalar_type(max(len(sizes) - 1, 0))
        strata = labels.known_columns.astype(dtype) * dtype.type(2) + labels.known_values
        return draw_within_strata(strata, sizes, np.full(len(sizes), self.count), rng)
