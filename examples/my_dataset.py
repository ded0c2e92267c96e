"""A dataset of one's own: bright corners, of which some labels are unknown, by photographer."""

from dataclasses import dataclass

import numpy as np

from labelattack import datasets
from labelattack.datasets.base import Dataset, Split, Splits
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import ArrayImages


@datasets.register("bright-corners")
@dataclass(frozen=True, kw_only=True)
class BrightCorners(Dataset):
    """Grey images with a bright square in some of the four corners.

    Args:
        images: Number of images.
    """

    images: int = 300

    def load(self):
        rng = np.random.default_rng(0)
        labels = rng.random((self.images, 4)) < 0.4
        pixels = rng.integers(0, 120, (self.images, 16, 16), dtype=np.uint8)
        for image, (corner_1, corner_2, corner_3, corner_4) in zip(pixels, labels, strict=True):
            image[:6, :6] += np.uint8(120 * corner_1)
            image[:6, -6:] += np.uint8(120 * corner_2)
            image[-6:, :6] += np.uint8(120 * corner_3)
            image[-6:, -6:] += np.uint8(120 * corner_4)
        names = [f"image {n}" for n in range(self.images)]
        photographers = [f"photographer {n // 10}" for n in range(self.images)]
        known = rng.random(labels.shape) < 0.8
        everything = Split(ArrayImages(pixels), labels, names, known=known, groups=photographers)
        # Images of one photographer are alike, so none of them is on two sides.
        learn, test = hold_out(everything, 0.3, 0, "bright-corners-test", by_group=True)
        train, val = hold_out(learn, 0.3, 0, "bright-corners-val", by_group=True)
        return Splits(["top left", "top right", "bottom left", "bottom right"], train, val, test)
