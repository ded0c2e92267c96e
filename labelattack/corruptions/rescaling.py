"""Loss of resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths


@register("rescaling")
@dataclass(frozen=True, kw_only=True)
class Rescaling(Corruption):
    """Makes the image smaller, and as large again."""

    source: ClassVar[str] = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
    references: ClassVar[str] = "hendrycks2019"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": (0.6, 0.5, 0.4, 0.3, 0.25),
        "cifar-10-c": (0.95, 0.9, 0.85, 0.75, 0.65),
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: factor of both sides."""
        height, width = image.shape[:2]
        small = max(1, int(width * strength)), max(1, int(height * strength))
        resized = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        return np.asarray(resized.resize((width, height), Image.Resampling.BOX))
