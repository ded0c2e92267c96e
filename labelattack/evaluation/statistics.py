"""Intervals for the numbers on a board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean with the half-width of its confidence interval (None for fewer than two values)."""

    mean: float
    half_width: float | None
    seeds: int


def estimate(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Mean and Student-t interval over seeds.

    Args:
        values: One number a seed.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The estimate; its mean is NaN if there are no values.
    """
    count = len(values)
    mean = float(np.mean(values)) if count else float("nan")
    if count < 2:
        return Estimate(mean, None, count)
    from scipy.special import stdtrit  # scipy.stats takes a second to import, this does not

    spread = float(np.std(values, ddof=1)) / count**0.5
    return Estimate(mean, float(stdtrit(count - 1, (1 + confidence) / 2)) * spread, count)
