"""The semi-supervised setting: images without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf
from labelattack.attacks.groups import outside_drawn_groups
from labelattack.labels import BoolArray, PartialLabels


@register("unlabelled-images")
@dataclass(frozen=True, kw_only=True)
class UnlabelledImages(LabelAttack):
    """Removes all labels of a share of the images (semi-supervised).

    round(rate * images) images, drawn uniformly, lose all labels; images that have none to begin
    with are counted and drawn like others. Published settings keep 5, 10, 15 or 20 % of the images,
    that is rate 0.95, 0.9, 0.85 or 0.8.

    Args:
        rate: Share of the images that loses its labels, in [0, 1].
    """

    source: ClassVar[str] = "semi-supervised setting, e.g. Xie et al. 2023 (CAP)"
    references: ClassVar[str] = "xie2023"
    rate_of: ClassVar[RateOf] = "images"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.9

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the labels of the images that are not drawn."""
        images = len(labels)
        return outside_drawn_groups(labels, np.arange(images), images, self.rate, rng)
