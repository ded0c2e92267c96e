"""Stratified draws: so many entries of each class, or of each class and sign."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.labels import BoolArray
from labelattack.labels.storage import IntArray
from labelattack.seeding import raw_words

_BLOCK = 1 << 18  # entries handled at a time
_MOST = (1 << 64) - 1


def draw_within_strata(
    strata: NDArray[np.integer[Any]],
    sizes: IntArray,
    counts: IntArray,
    rng: np.random.Generator,
) -> BoolArray:
    """Draws ``counts[s]`` of the entries of stratum s uniformly.

    Those with the smallest words are drawn, the earlier one of equal words; words are drawn in
    blocks, so that memory beside the result stays small.

    Args:
        strata: Stratum of each entry, int ``[n]``.
        sizes: Number of entries of each stratum, int64 ``[strata]``.
        counts: Number to draw, int64 ``[strata]``; more than the size draws all.
        rng: Source of randomness; one word is taken for each entry.

    Returns:
        bool ``[n]``; for one generator state, nested in the counts.
    """
    counts = np.clip(counts, 0, sizes)
    before = rng.bit_generator.state
    # Words are uniform: except once in 10**15 draws, the last one drawn of a stratum is within
    # eight standard deviations of its expected rank, so only words that near to it need sorting.
    for certain in (False, True):
        rng.bit_generator.state = before
        limits = [_limits(int(c), int(n), certain) for c, n in zip(counts, sizes, strict=True)]
        low, high = np.array(limits, dtype=np.uint64).reshape(-1, 2).T.copy()
        chosen, near, words = words_near(strata, low, high, rng)
        missing = counts.copy()
        for block in blocks(len(strata), _BLOCK):
            missing -= np.bincount(strata[block][chosen[block]], minlength=len(counts))
        of_near = strata[near]
        if (missing >= 0).all() and (missing <= np.bincount(of_near, minlength=len(sizes))).all():
            break
    chosen[near[_first(of_near, words, missing)]] = True
    return chosen


def draw_count(available: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draws ``count`` of the ``available`` entries uniformly.

    Args:
        available: Number of entries.
        count: Number to draw; more than there are draws all.
        rng: Source of randomness; one word is taken for each entry.

    Returns:
        bool ``[available]``; for one generator state, nested in the count.
    """
    strata = np.broadcast_to(np.uint8(0), available)
    return draw_within_strata(strata, np.array([available]), np.array([count]), rng)


def numbered(strata: NDArray[np.integer[Any]], words: NDArray[np.uint64]) -> IntArray:
    """Numbers the entries of each stratum from 0, in the order of their words.

    Args:
        strata: Stratum of each entry, int ``[n]``.
        words: A word of each, uint64 ``[n]``; of equal ones the earlier entry comes first.

    Returns:
        int64 ``[n]``.
    """
    order = np.lexsort((words, strata))
    ends = np.cumsum(np.bincount(strata)) if len(strata) else np.zeros(0, np.int64)
    starts = np.concatenate(([0], ends))[strata[order]]
    numbers = np.empty(len(strata), dtype=np.int64)
    numbers[order] = np.arange(len(strata)) - starts
    return numbers


def _first(
    strata: NDArray[np.integer[Any]], words: NDArray[np.uint64], counts: IntArray
) -> BoolArray:
    """The ``counts[s]`` entries of each stratum with the smallest words, bool ``[n]``."""
    return np.asarray(numbered(strata, words) < counts[strata])


def _limits(count: int, size: int, certain: bool) -> tuple[int, int]:
    """Word below which all entries are drawn, and word above which none is."""
    if count in (0, size):
        return (0, 0) if not count else (_MOST, _MOST)
    margin = size if certain else 8 * math.isqrt(count * (size - count) // size) + 40
    low, high = max(count - margin, 0), min(count + margin, size)
    return (low << 64) // size, (high << 64) // size - 1


def words_near(
    strata: NDArray[np.integer[Any]],
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    rng: np.random.Generator,
) -> tuple[BoolArray, IntArray, NDArray[np.uint64]]:
    """Entries whose words are below a limit, and those between it and a higher one.

    Words are drawn in blocks, so that memory beside the result stays small.

    Args:
        strata: Stratum of each entry, int ``[n]``.
        low: Limit of each stratum, uint64 ``[strata]``.
        high: Its higher limit, which a word may reach.
        rng: Source of randomness; one word is taken for each entry.

    Returns:
        Which entries are below the low limit, bool ``[n]``; the positions of those between the
        limits, int64, and their words, uint64.
    """
    chosen = np.empty(len(strata), dtype=np.bool_)
    near, words = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for block in blocks(len(strata), _BLOCK):
        # Of a single stratum the limits are broadcast, which is twice as fast as looking them up.
        of_block: Any = strata[block] if len(low) > 1 else slice(None)
        drawn = raw_words(rng, len(chosen[block]))
        chosen[block] = below = drawn < low[of_block]
        found = np.flatnonzero(below != (drawn <= high[of_block]))
        near.append(found + block.start)
        words.append(drawn[found])
    return chosen, np.concatenate(near), np.concatenate(words)


def blocks(items: int, size: int) -> list[slice]:
    """Slices of at most ``size`` items that cover all of them."""
    return [slice(first, first + size) for first in range(0, items, size)]
