"""Moving a region of an image to another place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from labelattack.measures._d_score.choices import Border

_MODES = {"zero": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def shift(
    images: Tensor,
    source: tuple[float, float],
    target: tuple[float, float],
    *,
    border: Border = "zero",
    zoom: float = 1.0,
) -> Tensor:
    """Shifts images so that what was at one point arrives at another.

    Args:
        images: Normalised pixels, float ``[batch, channels, height, width]``.
        source: Row and column of the point in pixels, from the upper left corner.
        target: Where it goes; the shift is rounded to whole pixels.
        border: What enters.
        zoom: Enlargement about the target.

    Returns:
        Float, of the same shape.
    """
    height, width = images.shape[2:]
    down, right = (round(t - s) for s, t in zip(source, target, strict=True))
    # Never more than the image itself can give in "reflect".
    vertical, horizontal = min(abs(down), height - 1), min(abs(right), width - 1)
    padded = functional.pad(
        images, (horizontal, horizontal, vertical, vertical), mode=_MODES[border]
    )
    top, left = vertical - down, horizontal - right
    shifted = padded[:, :, top : top + height, left : left + width]
    if zoom == 1:
        return shifted
    # Positions in [-1, 1], as grid_sample counts them, with the target fixed.
    fixed = [2 * t / size - 1 for t, size in zip(target, (height, width), strict=True)]
    scale = 1 / zoom
    affine = torch.tensor(
        [[scale, 0.0, fixed[1] * (1 - scale)], [0.0, scale, fixed[0] * (1 - scale)]],
        device=images.device,
    )
    grid = functional.affine_grid(
        affine.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return functional.grid_sample(shifted, grid, padding_mode="border", align_corners=False)
