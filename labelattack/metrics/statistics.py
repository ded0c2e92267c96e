"""Intervals, paired comparisons and ranks for the numbers on a board.

The t distribution is that of scipy.special: scipy.stats and statsmodels, which give the same
numbers (tested), take longer to import than a board takes to print.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
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


def estimate_all(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and half-width of ``estimate``; None if a seed has no value, or there is none.

    Args:
        values: One number a seed, None where it is undefined.
    """
    found = list(values)
    known = [value for value in found if value is not None]
    if not known or len(known) < len(found):
        return None, None
    over_seeds = estimate(known)
    return over_seeds.mean, over_seeds.half_width


class Paired(NamedTuple):
    """Two sets of values compared pair by pair.

    Attributes:
        difference: Mean of first - second; its 95 % Student-t interval and the number of pairs.
        effect_size: Mean difference in standard deviations of the difference (Cohen's d_z, Lakens
            2013); None for fewer than two pairs, or where differences do not vary.
        p: Two-sided p-value of the paired t-test; None for fewer than two pairs.
    """

    difference: Estimate
    effect_size: float | None
    p: float | None


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compares two defenses over the same seeds.

    Args:
        first: One number a seed.
        second: One number for each of the same seeds.

    Returns:
        The comparison. Differences that are all alike have p = 0, or 1 if they are all zero.
    """
    differences = np.subtract(first, second)
    found = estimate(differences.tolist())
    if len(differences) < 2:
        return Paired(found, None, None)
    spread = float(np.std(differences, ddof=1))
    # Values that agree in all but rounding do not vary.
    if spread <= 1e-12 * max(1.0, float(np.abs(np.r_[first, second]).max())):
        return Paired(found, None, 1.0 if abs(found.mean) <= spread else 0.0)
    from scipy.special import stdtr

    effect = found.mean / spread
    t = effect * len(differences) ** 0.5
    return Paired(found, effect, 2 * float(stdtr(len(differences) - 1, -abs(t))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values so that the chance of any false rejection stays at the level (Holm 1979).

    Args:
        p_values: Of the tests that belong together, each in [0, 1].

    Returns:
        Corrected p-values, in the order given.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def rank_ranges(count: int, better: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which ranks each of several things may have.

    Args:
        count: How many there are.
        better: Pairs (a, b) where a is better than b beyond doubt. What is better than the better
            is better too, whether or not its pair is given; pairs that contradict each other that
            way count for nothing.

    Returns:
        For each, one more than the number of those better, and ``count`` less the number of those
        worse. Two that cannot be told apart share a rank.
    """
    wins = np.zeros((count, count), dtype=np.float32)
    for winner, loser in better:
        wins[winner, loser] = 1
    # Without this, two that no pair tells apart could be left without a rank in common.
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
