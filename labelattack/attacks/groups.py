"""Removal of all labels of whole groups of images."""

from __future__ import annotations

import numpy as np

from labelattack.attacks.base import draw_share
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray


def outside_drawn_groups(
    labels: PartialLabels, groups: IntArray, count: int, rate: float, rng: np.random.Generator
) -> BoolArray:
    """Known entries outside of ``round(rate * count)`` groups that are drawn uniformly.

    Args:
        labels: The labels.
        groups: Group of each image, below ``count``, int64 ``[images]``.
        count: Number of groups.
        rate: Share of the groups that is drawn, in [0, 1].
        rng: Source of randomness.

    Returns:
        bool ``[known]``; for one generator state, its complement is nested in the rate.
    """
    drawn = draw_share(np.ones(count, dtype=np.bool_), rate, rng)
    return np.repeat(~drawn[groups], labels.per_image())
