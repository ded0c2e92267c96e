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
from labelattack.attacks.strata import blocks
from labelattack.labels import BoolArray, PartialLabels
from labelattack.seeding import raw_words, skip_words

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
    priority: NDArray[Any],
    rate: float,
    rng: np.random.Generator,
    *,
    smallest: bool = False,
    among: BoolArray | None = None,
) -> BoolArray:
    """The ``round(rate * n)`` of n items with the largest numbers; ties are broken at random.

    Args:
        priority: A number of each item, ``[items]``.
        rate: Share, in [0, 1].
        rng: Source of randomness.
        smallest: Whether to take those with the smallest numbers instead.
        among: The n items to choose from, bool ``[items]``; by default all. It spares a copy of
            millions of numbers.

    Returns:
        bool ``[n]``; for one generator state, nested in the rate.
    """
    total = len(priority) if among is None else int(np.count_nonzero(among))
    count = round(rate * total)
    first = np.zeros(total, dtype=np.bool_)
    if not count:
        skip_words(rng, total)
        return first
    last = kth_largest(priority, total - count + 1 if smallest else count, among)
    tied, words = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    start = 0
    for block in blocks(len(priority), _BLOCK):
        part = priority[block] if among is None else priority[block][among[block]]
        first[start : start + len(part)] = part < last if smallest else part > last
        equal = np.flatnonzero(part == last)
        if len(equal):
            tied.append(equal + start)
            words.append(raw_words(rng, len(part))[equal])
        else:
            skip_words(rng, len(part))
        start += len(part)
    order = np.argsort(np.concatenate(words), kind="stable")
    missing = count - int(np.count_nonzero(first))
    first[np.concatenate(tied)[order[:missing]]] = True
    return first


def kth_largest(values: NDArray[Any], k: int, among: BoolArray | None = None) -> Any:
    """The k-th largest of n numbers.

    Millions of floats are not copied: their bits are counted sixteen at a time, from the highest.

    Args:
        values: Numbers without NaN, ``[items]``.
        k: 1 to n.
        among: The n items to choose from, bool ``[items]``; by default all.
    """
    if len(values) <= _BLOCK or values.dtype.kind != "f":
        few = values if among is None else values[among]
        return np.partition(few, len(few) - k)[len(few) - k]
    bits = 8 * values.dtype.itemsize
    prefix, left = 0, k
    for below in range(bits, 0, -16):  # bits that are not decided yet
        counts = np.zeros(1 << 16, dtype=np.int64)
        lowest = _float_of(prefix << below, values.dtype)
        highest = _float_of((prefix + 1 << below) - 1, values.dtype)
        for block in blocks(len(values), _BLOCK):
            part = values[block]
            of: BoolArray | None = None if among is None else among[block]
            if below < bits:
                # Most are out of reach; a limit that is not a number excludes none.
                near = ~((part < lowest) | (part > highest))
                of = near if of is None else near & of
            keys = _ordered_bits(part if of is None else part[of])
            if below < bits:
                keys = keys[keys >> keys.dtype.type(below) == prefix]
            digits = (keys >> keys.dtype.type(below - 16)) & keys.dtype.type(0xFFFF)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
        at_least = np.cumsum(counts[::-1])
        place = int(np.searchsorted(at_least, left))
        left -= int(at_least[place - 1]) if place else 0
        prefix = prefix << 16 | 0xFFFF - place
    return _float_of(prefix, values.dtype)


def _float_of(key: int, dtype: np.dtype[Any]) -> Any:
    """The float whose ordered bits are these."""
    bits = 8 * dtype.itemsize
    sign = 1 << bits - 1
    raw = key ^ sign if key & sign else key ^ (1 << bits) - 1
    return np.array(raw, dtype=f"u{dtype.itemsize}").view(dtype)[()]


def _ordered_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers in the order of floats: those of negative ones are inverted."""
    raw = np.ascontiguousarray(values).view(f"i{values.dtype.itemsize}")
    last = raw.dtype.type(8 * raw.dtype.itemsize - 1)
    inverted = raw >> last  # all bits of negative numbers
    inverted |= np.iinfo(raw.dtype).min
    inverted ^= raw
    return np.asarray(inverted.view(f"u{raw.dtype.itemsize}"))


def first_within(
    priority: NDArray[np.floating[Any]],
    available: NDArray[np.int64],
    counts: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    smallest: bool = False,
) -> BoolArray:
    """The ``counts[i]`` of image i's items with the largest numbers; ties are broken at random.

    Args:
        priority: A number of each item, image by image, float ``[sum of available]``.
        available: Number of items of each image, int64 ``[images]``.
        counts: Number to take, int64 ``[images]``; more than the items takes all.
        rng: Source of randomness.
        smallest: Whether to take those with the smallest numbers instead.

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
        numbers = -priority[here] if smallest else priority[here]
        chosen[here] = _first_of_rows(numbers, words, available[block], quota[block])
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
