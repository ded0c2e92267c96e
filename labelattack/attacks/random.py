"""The paper's random attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, draw_share, draw_within
from labelattack.labels import BoolArray, PartialLabels


@register("random")
@dataclass(frozen=True, kw_only=True)
class RandomAttack(LabelAttack):
    """R_q: removes a share of all known labels, without regard to their sign.

    Args:
        rate: Share of the labels that is removed, in [0, 1].
        scope: ``dataset`` removes exactly round(rate * labels) entries drawn over the data set;
            ``image`` removes round(rate * n) of the n known entries of every image.
    """

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels, Sec. III-A"
    references: ClassVar[str] = "zhang2024"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    scope: Literal["dataset", "image"] = "dataset"

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the labels that are not drawn."""
        if self.scope == "dataset":
            return ~draw_share(np.ones_like(labels.known_values), self.rate, rng)
        known = labels.per_image()
        return ~draw_within(known, np.rint(self.rate * known).astype(np.int64), rng)
