"""Translation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths
from labelattack.seeding import bounded

# ImageNet-C has no translation.
_SHARES = (0.04, 0.08, 0.12, 0.16, 0.2)


@register("translation")
@dataclass(frozen=True, kw_only=True)
class Translation(Corruption):
    """Shifts along both axes, and repeats the border."""

    source: ClassVar[str] = "this package: shares of a side, for images of any size"
    references: ClassVar[str] = "labelattack"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": _SHARES,
        "cifar-10-c": _SHARES,
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: share of the side; the direction is random."""
        shifted: Pixels = image
        for axis, forward in enumerate(bounded(rng, 2, 2)):
            length = image.shape[axis]
            steps = round(strength * length) * (1 if forward else -1)
            places = np.clip(np.arange(length) - steps, 0, length - 1)
            shifted = shifted.take(places, axis=axis)
        return shifted
