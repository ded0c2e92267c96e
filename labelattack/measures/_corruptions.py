"""Common corruptions, after ImageNet-C; pure functions on one image.

Libraries that offer them bring OpenCV and scikit-image; what six of them need, SciPy and Pillow do.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

from labelattack.measures.corruption import Corruption, Table
from labelattack.seeding import bounded, raw_words

Pixels = NDArray[np.uint8]

# Hendrycks and Dietterich 2019, as their code has them (github.com/hendrycks/robustness). There is
# no translation in it; the shares of a side by which we shift are ours, for images of any size.
_SHIFTS = (0.04, 0.08, 0.12, 0.16, 0.2)
STRENGTHS: dict[Table, dict[Corruption, tuple[float, ...]]] = {
    "imagenet-c": {
        "gaussian-noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "gaussian-blur": (1, 2, 3, 4, 6),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "jpeg": (25, 18, 15, 10, 7),
        "translation": _SHIFTS,
        "rescaling": (0.6, 0.5, 0.4, 0.3, 0.25),
    },
    "cifar-10-c": {
        "gaussian-noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "gaussian-blur": (0.4, 0.6, 0.7, 0.8, 1),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "jpeg": (80, 65, 58, 50, 40),
        "translation": _SHIFTS,
        "rescaling": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
}
"""For each corruption, its strength at severities 1 to 5."""


def corrupt(
    image: Pixels, corruption: Corruption, strength: float, rng: np.random.Generator
) -> Pixels:
    """Corrupts one image.

    Args:
        image: uint8 ``[height, width, 3]``.
        corruption: Which; ``gaussian-noise`` adds to each number, ``gaussian-blur`` and
            ``contrast`` work on each channel, ``jpeg`` compresses, ``translation`` shifts along
            both axes and repeats the border, ``rescaling`` makes the image smaller and as large
            again.
        strength: Standard deviation of the noise, of pixels in [0, 1]; of the blur, in pixels;
            share of the contrast that stays; quality; share of the side; factor.
        rng: Of the noise, and of the direction of the shift.

    Returns:
        uint8, of the same shape.
    """
    match corruption:
        case "gaussian-noise":
            words = raw_words(rng, image.size) >> np.uint64(11)
            normal = ndtri((words + 0.5) / 2**53).reshape(image.shape)
            return _rounded(image + 255 * strength * normal)
        case "gaussian-blur":
            sigmas = (strength, strength, 0)
            blurred = gaussian_filter(image.astype(np.float64), sigmas, mode="nearest")
            return _rounded(blurred)
        case "contrast":
            means = image.mean(axis=(0, 1), keepdims=True)
            return _rounded((image - means) * strength + means)
        case "jpeg":
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=int(strength))
            return np.asarray(Image.open(file))
        case "translation":
            return _shifted(image, strength, rng)
        case "rescaling":
            height, width = image.shape[:2]
            small = max(1, int(width * strength)), max(1, int(height * strength))
            resized = Image.fromarray(image).resize(small, Image.Resampling.BOX)
            return np.asarray(resized.resize((width, height), Image.Resampling.BOX))


def _rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return rounded


def _shifted(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    shifted: Pixels = image
    for axis, forward in enumerate(bounded(rng, 2, 2)):
        length = image.shape[axis]
        steps = round(share * length) * (1 if forward else -1)
        places = np.clip(np.arange(length) - steps, 0, length - 1)
        shifted = shifted.take(places, axis=axis)
    return shifted
