"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths, rounded
from labelattack.seeding import raw_words


@register("gaussian-noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Corruption):
    """Adds Gaussian noise to each number."""

    source: ClassVar[str] = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
    references: ClassVar[str] = "hendrycks2019"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar-10-c": (0.04, 0.06, 0.08, 0.09, 0.1),
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: standard deviation, of pixels in [0, 1]."""
        words = raw_words(rng, image.size) >> np.uint64(11)
        normal = ndtri((words + 0.5) / 2**53).reshape(image.shape)
        return rounded(image + 255 * strength * normal)
