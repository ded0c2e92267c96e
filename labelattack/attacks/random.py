"""The paper's random attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, draw_per_image, draw_share
from labelattack.labels import BoolArray


@register("random")
@dataclass(frozen=True, kw_only=True)
class RandomAttack(LabelAttack):
    """R_q: removes a share of all labels, without regard to their sign.

    Args:
        rate: Share of the labels that is removed, in [0, 1].
        scope: ``dataset`` removes exactly round(rate * labels) cells drawn over the data set;
            ``image`` removes round(rate * classes) of every image.
    """

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels, Sec. III-A"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    scope: Literal["dataset", "image"] = "dataset"

    def observe(self, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Keeps the labels that are not drawn."""
        everything = np.ones_like(labels)
        if self.scope == "dataset":
            return ~draw_share(everything, self.rate, rng)
        counts = np.full(len(labels), round(self.rate * labels.shape[1]), dtype=np.int64)
        return ~draw_per_image(everything, counts, rng)
