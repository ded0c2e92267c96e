"""The paper's targeted attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf, draw_share, draw_within
from labelattack.labels import BoolArray, PartialLabels


@register("targeted")
@dataclass(frozen=True, kw_only=True)
class TargetedAttack(LabelAttack):
    """T_q: removes a share of the positives, and all negatives.

    Args:
        rate: Share of the known positives that is removed, in [0, 1].
        scope: ``dataset`` removes exactly round(rate * positives), drawn uniformly over the data
            set; ``image`` removes floor(rate * n) of an image's n positives, never its last.
        keep_negatives: Keep negatives known, as the paper's introduction (not its method) says.
    """

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels, Sec. III-A"
    references: ClassVar[str] = "zhang2024"
    rate_of: ClassVar[RateOf] = "positives"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    scope: Literal["dataset", "image"] = "dataset"
    keep_negatives: bool = False

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the positives that are not drawn."""
        positive = labels.known_values
        if self.scope == "dataset":
            removed = draw_share(positive, self.rate, rng)
        else:
            there = labels.per_image("positives")
            # The small constant compensates binary rounding: 0.29 * 100 must give 29.
            counts = np.floor(self.rate * there + 1e-9).astype(np.int64)
            removed = np.zeros_like(positive)
            removed[positive] = draw_within(
                there, np.minimum(counts, np.maximum(there - 1, 0)), rng
            )
        return ~removed if self.keep_negatives else positive & ~removed
