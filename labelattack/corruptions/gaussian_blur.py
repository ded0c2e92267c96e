"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths, rounded


@register("gaussian-blur")
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Corruption):
    """Blurs each channel."""

    source: ClassVar[str] = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
    references: ClassVar[str] = "hendrycks2019"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": (1, 2, 3, 4, 6),
        "cifar-10-c": (0.4, 0.6, 0.7, 0.8, 1),
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: standard deviation, in pixels."""
        sigmas = (strength, strength, 0)
        return rounded(gaussian_filter(image.astype(np.float64), sigmas, mode="nearest"))
