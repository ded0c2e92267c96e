"""Confidence intervals, paired tests and ranks over seeds.

The t distribution comes from scipy.special: scipy.stats and statsmodels give the same numbers
(tested), but take longer to import than a board takes to print.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Estimate(NamedTuple):
    """A mean and the half-width of its confidence interval (None for fewer than two values)."""

    mean: float
    half_width: float | None
    seeds: int


def estimate(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Mean and Student-t interval over seeds.

    Args:
        values: One number per seed.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The estimate; its mean is NaN if there are no values.
    """
    count = len(values)
    mean = float(np.mean(values)) if count else float("nan")
    if count < 2:
        return Estimate(mean, None, count)
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    spread = float(np.std(values, ddof=1)) / count**0.5
    return Estimate(mean, float(stdtrit(count - 1, (1 + confidence) / 2)) * spread, count)


def estimate_all(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and half-width of ``estimate``; None if a value is undefined, or there are none.

    Args:
        values: One number per seed, None where it is undefined.
    """
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    if not known or len(known) < len(numbers):
        return None, None
    over_seeds = estimate(known)
    return over_seeds.mean, over_seeds.half_width


class Paired(NamedTuple):
    """Paired comparison of two sets of values.

    Attributes:
        difference: Mean of first - second; its 95 % Student-t interval and the number of pairs.
        effect_size: Mean difference in standard deviations of the difference (Cohen's d_z, Lakens
            2013); None for fewer than two pairs, or if the differences do not vary.
        p: Two-sided p-value of the paired t-test; None for fewer than two pairs.
    """

    difference: Estimate
    effect_size: float | None
    p: float | None


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compares two defenses over the same seeds.

    Args:
        first: One number per seed.
        second: One number for each of the same seeds.

    Returns:
        The comparison. If all differences are equal, p is 0, or 1 if they are all zero.
    """
    differences = np.subtract(first, second)
    difference = estimate(differences.tolist())
    if len(differences) < 2:
        return Paired(difference, None, None)
    spread = float(np.std(differences, ddof=1))
    # Differences that agree up to rounding do not vary.
    if spread <= 1e-12 * max(1.0, float(np.abs(np.r_[first, second]).max())):
        return Paired(difference, None, 1.0 if abs(difference.mean) <= spread else 0.0)
    from scipy.special import stdtr

    effect = difference.mean / spread
    t = effect * len(differences) ** 0.5
    return Paired(difference, effect, 2 * float(stdtr(len(differences) - 1, -abs(t))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p-values, which control the family-wise error rate (Holm 1979).

    Args:
        p_values: p-values of one family of tests, each in [0, 1].

    Returns:
        Corrected p-values, in the order given.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def rank_ranges(count: int, better: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Range of possible ranks of each of several items.

    Args:
        count: Number of items.
        better: Pairs (a, b) where a is significantly better than b. The relation is closed
            transitively; pairs that then contradict each other are ignored.

    Returns:
        For each item, the best rank (one more than the number of better items) and the worst rank
        (``count`` less the number of worse ones). Ranges of items that no pair separates overlap.
    """
    wins = np.zeros((count, count), dtype=np.float32)
    for winner, loser in better:
        wins[winner, loser] = 1
    # Without it, the ranges of two items that no pair separates might not overlap.
    while (further := np.minimum(1, wins + wins @ wins)).sum() > wins.sum():
        wins = further
    sure = (wins > wins.T).astype(int)
    lowest, highest = 1 + sure.sum(axis=0), count - sure.sum(axis=1)
    return list(zip(lowest.tolist(), highest.tolist(), strict=True))


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
    """Agreement of the order of means over seeds with an expected order.

    Args:
        expected: One number for each ranked item.
        measured: float ``[seeds, items]``.
        confidence: Coverage of the percentile interval from resampling whole seeds; rough for five
            seeds.
        resamples: Number of resamples.

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
        # Resamples may all agree or all be tied; the result shows both.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = bootstrap(
            (seeds,), tau, vectorized=False, method="percentile", n_resamples=resamples,
            confidence_level=confidence, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    # Of equal values, the lower percentile may be rounded above the upper one.
    low, high = sorted((float(interval.low), float(interval.high)))
    return Agreement(whole, None if np.isnan([low, high]).any() else (low, high))
