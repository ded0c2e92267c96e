"""Base classes of attacks that remove known positives in an order of their own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.attacks.base import LabelAttack, RateOf
from labelattack.attacks.informed import InformedAttack
from labelattack.attacks.knowledge import Knowledge
from labelattack.labels import BoolArray, PartialLabels
from labelattack.seeding import raw_words

_BLOCK = 1 << 18  # items handled at a time


@dataclass(frozen=True, kw_only=True)
class _InOrder:
    """Removal of the known positives that come first in an order; budgets are exact and nested.

    Args:
        rate: Share of the known positives that is removed, in [0, 1]: exactly
            round(rate * positives).
        keep_negatives: Keep negatives known.
    """

    rate_of: ClassVar[RateOf] = "positives"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    keep_negatives: bool = False

    def _kept(
        self, labels: PartialLabels, priority: NDArray[Any], rng: np.random.Generator
    ) -> BoolArray:
        first = first_of(priority, self.rate, rng)
        return without_positives(labels, first, self.keep_negatives)


@dataclass(frozen=True, kw_only=True)
class PositiveRemoval(_InOrder, LabelAttack):
    """Removes the known positives that come first in an order, and all negatives."""

    @abstractmethod
    def priority(self, labels: PartialLabels, rng: np.random.Generator) -> NDArray[Any]:
        """Order in which positives are removed.

        Args:
            labels: Labels, all of them known or not.
            rng: The only permitted source of randomness; ties are broken by it afterwards.

        Returns:
            A number of each known positive, image by image
            ([positive_entries][labelattack.labels.partial.PartialLabels.positive_entries]),
            ``[positives]``: the largest are removed first.
        """

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the positives that come last."""
        return self._kept(labels, self.priority(labels, rng), rng)


@dataclass(frozen=True, kw_only=True)
class InformedRemoval(_InOrder, InformedAttack):
    """Removes the known positives that come first in an order that knowledge gives."""

    @abstractmethod
    def priority(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> NDArray[Any]:
        """Order in which positives are removed, as of ``PositiveRemoval``.

        Args:
            labels: Labels, all of them known or not.
            knowledge: The kinds of knowledge that the attack declares.
            rng: The only permitted source of randomness; ties are broken by it afterwards.
        """

    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Keeps the positives that come last."""
        return self._kept(labels, self.priority(labels, knowledge, rng), rng)


def first_of(
    priority: NDArray[Any], rate: float, rng: np.random.Generator, *, smallest: bool = False
) -> BoolArray:
    """The ``round(rate * n)`` of n items with the largest numbers; ties are broken at random.

    Args:
        priority: A number of each item, ``[n]``.
        rate: Share, in [0, 1].
        rng: Source of randomness.
        smallest: Whether to take those with the smallest numbers instead.

    Returns:
        bool ``[n]``; for one generator state, nested in the rate.
    """
    total = len(priority)
    count = round(rate * total)
    last = None
    if count:
        last = kth_largest(priority, total - count + 1 if smallest else count)
    first = np.zeros(total, dtype=np.bool_)
    tied, words = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    # In blocks, so that memory beside the result stays small.
    for start in range(0, total, _BLOCK):
        part = priority[start : start + _BLOCK]
        drawn = raw_words(rng, len(part))
        if last is None:
            continue
        first[start : start + len(part)] = part < last if smallest else part > last
        equal = np.flatnonzero(part == last)
        tied.append(equal + start)
        words.append(drawn[equal])
    order = np.argsort(np.concatenate(words), kind="stable")
    missing = count - int(np.count_nonzero(first))
    first[np.concatenate(tied)[order[:missing]]] = True
    return first


def kth_largest(values: NDArray[Any], k: int) -> Any:
    """The k-th largest of some numbers.

    Millions of floats are not copied: their bits are counted sixteen at a time, from the highest.

    Args:
        values: Numbers without NaN, ``[n]``.
        k: 1 to n.
    """
    total = len(values)
    if total <= _BLOCK or values.dtype.kind != "f":
        return np.partition(values, total - k)[total - k]
    bits = 8 * values.dtype.itemsize
    prefix, left = 0, k
    for shift in range(bits - 16, -1, -16):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for start in range(0, total, _BLOCK):
            keys = _ordered_bits(values[start : start + _BLOCK])
            if shift + 16 < bits:
                keys = keys[keys >> keys.dtype.type(shift + 16) == prefix]
            digits = (keys >> keys.dtype.type(shift)) & keys.dtype.type(0xFFFF)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
        at_least = np.cumsum(counts[::-1])
        place = int(np.searchsorted(at_least, left))
        left -= int(at_least[place - 1]) if place else 0
        prefix = prefix << 16 | 0xFFFF - place
    sign = 1 << bits - 1
    raw = prefix ^ sign if prefix & sign else prefix ^ (1 << bits) - 1
    return np.array(raw, dtype=f"u{values.dtype.itemsize}").view(values.dtype)[()]


def _ordered_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers in the order of floats: those of negative ones are inverted."""
    raw = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    kind = raw.dtype.type
    sign = kind(1 << 8 * raw.dtype.itemsize - 1)
    return np.asarray(np.where(raw & sign, ~raw, raw | sign))


def first_within(
    priority: NDArray[np.floating[Any]],
    available: NDArray[np.int64],
    counts: NDArray[np.int64],
    rng: np.random.Generator,
) -> BoolArray:
    """The ``counts[i]`` of image i's items with the largest numbers; ties are broken at random.

    Args:
        priority: A number of each item, image by image, float ``[sum of available]``.
        available: Number of items of each image, int64 ``[images]``.
        counts: Number to take, int64 ``[images]``; more than the items takes all.
        rng: Source of randomness.

    Returns:
        bool ``[sum of available]``; for one generator state, nested in the counts.
    """
    quota = np.clip(counts, 0, available)
    starts = np.concatenate([[0], np.cumsum(available)])
    chosen = np.zeros(len(priority), dtype=np.bool_)
    rows = max(_BLOCK // max(int(available.max(initial=1)), 1), 1)
    for first in range(0, len(available), rows):
        block = slice(first, first + rows)
        here = slice(starts[first], starts[min(first + rows, len(available))])
        words = raw_words(rng, here.stop - here.start)
        chosen[here] = _first_of_rows(priority[here], words, available[block], quota[block])
    return chosen


def _first_of_rows(
    priority: NDArray[np.floating[Any]],
    words: NDArray[np.uint64],
    available: NDArray[np.int64],
    quota: NDArray[np.int64],
) -> BoolArray:
    """Items with the largest numbers, then the smallest words, of each of a few images."""
    width = max(int(available.max(initial=1)), 1)
    filled = np.arange(width) < available[:, None]  # items are packed to the left
    numbers = np.full(filled.shape, -np.inf, dtype=priority.dtype)
    numbers[filled] = priority
    at = np.minimum(width - quota, width - 1)[:, None]
    least = np.take_along_axis(np.sort(numbers, axis=1), at, axis=1)
    some = quota[:, None] > 0
    chosen = (numbers > least) & some
    row, column = np.nonzero((numbers == least) & filled & some)
    starts = np.cumsum(available) - available
    order = np.lexsort((words[starts[row] + column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    missing = quota - np.count_nonzero(chosen, axis=1)
    chosen[row, column] = rank < missing[row]
    return np.asarray(chosen[filled])


def without_positives(labels: PartialLabels, removed: BoolArray, keep_negatives: bool) -> BoolArray:
    """Entries that stay known when some positives are removed.

    Args:
        labels: The labels.
        removed: Which of the known positives, image by image, bool ``[positives]``.
        keep_negatives: Whether negatives stay known.

    Returns:
        bool ``[known]``.
    """
    positive = labels.known_values
    kept = np.ones_like(positive) if keep_negatives else positive.copy()
    kept[positive] = ~removed
    return kept


def weighted_order(weights: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Order of a draw without replacement with unequal chances (Efraimidis and Spirakis 2006).

    The items with the largest numbers are a draw in which each next one is taken with a chance in
    proportion to its weight among those left.

    Args:
        weights: Weight of each item, ``[n]``, from 0; items without weight come last.
        rng: Source of randomness.

    Returns:
        float64 ``[n]``, at most 0; ``-inf`` where the weight is 0.
    """
    # Uniform in (0, 1): 53 bits and a half, so that neither end occurs.
    uniform = ((raw_words(rng, len(weights)) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    positive = weights > 0
    keys = np.full(len(weights), -np.inf)
    keys[positive] = np.log(uniform[positive]) / weights[positive]
    return keys
