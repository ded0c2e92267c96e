"""Lower contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths, rounded


@register("contrast")
@dataclass(frozen=True, kw_only=True)
class Contrast(Corruption):
    """Moves each channel towards its mean."""

    source: ClassVar[str] = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
    references: ClassVar[str] = "hendrycks2019"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": (0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar-10-c": (0.75, 0.5, 0.4, 0.3, 0.15),
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: share of the contrast that stays."""
        means = image.mean(axis=(0, 1), keepdims=True)
        return rounded((image - means) * strength + means)
