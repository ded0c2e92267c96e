"""Intervals for the numbers on a board."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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


class Agreement(NamedTuple):
    """Kendall's tau in [-1, 1], with a 95 % interval over seeds; None where undefined."""

    tau: float | None
    interval: tuple[float, float] | None


def rank_agreement(
    expected: Sequence[float],
    measured: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 999,
) -> Agreement:
    """How well the order of means over seeds agrees with an expected order.

    Args:
        expected: One number for each thing that is ranked.
        measured: Float ``[seeds, things]``.
        confidence: Coverage of the percentile interval from resampling whole seeds. With five
            seeds it is a rough one.
        resamples: How many resamples.

    Returns:
        Kendall's tau-b (Kendall 1945) of the means; its interval needs two seeds.
    """
    from scipy.stats import bootstrap, kendalltau

    def tau(rows: NDArray[np.int64]) -> float:
        return float(kendalltau(expected, measured[rows].mean(axis=0)).statistic)

    seeds = np.arange(len(measured))
    whole = tau(seeds) if len(measured) else float("nan")
    if np.isnan(whole):
        return Agreement(None, None)
    if len(seeds) < 2:
        return Agreement(whole, None)
    with warnings.catch_warnings():
        # Resamples may all agree, or be all tied; both are told by the result.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            (seeds,), tau, vectorized=False, method="percentile", n_resamples=resamples,
            confidence_level=confidence, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    undefined = np.isnan([found.low, found.high]).any()
    return Agreement(whole, None if undefined else (float(found.low), float(found.high)))
