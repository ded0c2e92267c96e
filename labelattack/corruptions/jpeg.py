"""JPEG compression."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from labelattack.corruptions import register
from labelattack.corruptions.base import Corruption, Pixels, Strengths


@register("jpeg")
@dataclass(frozen=True, kw_only=True)
class Jpeg(Corruption):
    """Compresses to JPEG and decodes again."""

    source: ClassVar[str] = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
    references: ClassVar[str] = "hendrycks2019"
    strengths: ClassVar[Strengths] = {
        "imagenet-c": (25, 18, 15, 10, 7),
        "cifar-10-c": (80, 65, 58, 50, 40),
    }
    standard: ClassVar[bool] = True

    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Strength: quality."""
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(strength))
        return np.asarray(Image.open(file))
