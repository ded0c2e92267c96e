"""The paper's one-positive-per-image attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf, draw_within
from labelattack.labels import BoolArray, PartialLabels


@register("single-positive")
@dataclass(frozen=True, kw_only=True)
class SinglePositiveAttack(LabelAttack):
    """T_s: keeps one known positive per image, drawn uniformly, and nothing else."""

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels, Sec. IV-C"
    references: ClassVar[str] = "zhang2024"
    rate_of: ClassVar[RateOf] = "positives"

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps one positive of each image that has one."""
        kept = labels.known_values.copy()
        kept[kept] = draw_within(labels.per_image("positives"), np.ones(len(labels), np.int64), rng)
        return kept
