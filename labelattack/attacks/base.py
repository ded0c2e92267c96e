"""What an attack is, and the draws that attacks are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, PluginError
from labelattack.labels import BoolArray, PartialLabels, check_matrix
from labelattack.seeding import generator, raw_words

_BLOCK = 1 << 18  # cells drawn from at once


@dataclass(frozen=True, kw_only=True)
class LabelAttack(ABC):
    """Decides which labels survive; cannot change any.

    Subclass as a keyword-only frozen dataclass whose fields are the attack's parameters, implement
    [observe][labelattack.attacks.base.LabelAttack.observe], and register it. With one seed, what a
    smaller rate removes must be a subset of what a larger one removes.

    Attributes:
        version: Raise it whenever the attack's output changes; results of two versions never mix.
        source: Where the attack comes from.
        rate_of: What ``rate``, if the attack has one, is a share of.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    rate_of: ClassVar[Literal["positives", "labels"]] = "labels"

    @abstractmethod
    def observe(self, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Marks the labels that survive.

        Args:
            labels: Clean labels, bool ``[images, labels]``; read-only.
            rng: The only permitted source of randomness.

        Returns:
            bool ``[images, labels]``, True where the label stays known.
        """

    @final
    def __call__(self, labels: BoolArray, *, seed: int) -> PartialLabels:
        """Attacks clean labels.

        Args:
            labels: Clean labels, bool ``[images, labels]``; rows without positives are legal.
            seed: Non-negative; the same seed gives the same result on every machine.

        Returns:
            The labels that are left.

        Raises:
            LabelError: If ``labels`` is not a bool matrix.
            PluginError: If the attack returns anything but a mask of the labels' shape.
        """
        check_matrix("labels", labels)
        if seed < 0:
            raise LabelError(f"seed must be at least 0, got {seed}")
        frozen = labels.copy()
        frozen.setflags(write=False)
        mask = self.observe(frozen, generator(seed, "attack"))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != labels.shape:
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask)
            raise PluginError(
                f"{type(self).__name__}.observe must return a bool array {labels.shape}, got {got}"
            )
        return PartialLabels(frozen, mask)


def draw_share(cells: BoolArray, rate: float, rng: np.random.Generator) -> BoolArray:
    """Draws ``round(rate * n)`` of the n marked cells uniformly, over the whole matrix.

    Args:
        cells: Candidates, bool ``[images, labels]``.
        rate: Share to draw, in [0, 1].
        rng: Source of randomness.

    Returns:
        bool ``[images, labels]``; for one generator state, nested in the rate.
    """
    total = int(np.count_nonzero(cells))
    words, count = raw_words(rng, total), round(rate * total)
    drawn = np.zeros(cells.shape, dtype=np.bool_)
    if not count:
        return drawn
    # What has the smallest ``random_keys`` is drawn: those of the words' high bits, then the place.
    bits = max(total - 1, 1).bit_length()
    # Words are uniform, so the last one drawn is within eight standard deviations of its expected
    # place but once in 10**15 draws: only what is that near must be sorted.
    for margin in (4 * math.isqrt(total) + 4, total):
        low = (max(count - margin, 0) << 64) // total >> bits << bits
        high = (min(count + margin, total) << 64) // total - 1 | (1 << bits) - 1
        chosen = words < np.uint64(low)
        near = np.flatnonzero(chosen != (words <= np.uint64(high)))
        missing = count - int(np.count_nonzero(chosen))
        if 0 <= missing <= len(near):
            break
    order = np.argsort(words[near] >> np.uint64(bits), kind="stable")
    chosen[near[order[:missing]]] = True
    drawn[cells] = chosen
    return drawn


def draw_per_image(
    cells: BoolArray, counts: NDArray[np.int64], rng: np.random.Generator
) -> BoolArray:
    """Draws ``counts[i]`` of image i's marked cells uniformly.

    Args:
        cells: Candidates, bool ``[images, labels]``.
        counts: How many to draw, int64 ``[images]``; more than there are draws all.
        rng: Source of randomness.

    Returns:
        bool ``[images, labels]``; for one generator state, nested in the counts.
    """
    images, labels = cells.shape
    per_row = np.count_nonzero(cells, axis=1)
    wanted = np.clip(counts, 0, per_row)[:, None]
    # The order within a row is that of the words without as many low bits as number all rows and
    # all candidates, then the place; 32 bits, where these fit, sort twice as fast as 64.
    unused = max(images - 1, 1).bit_length() + max(int(per_row.sum()) - 1, 1).bit_length()
    drawn = np.zeros(cells.shape, dtype=np.bool_)
    rows = max(_BLOCK // max(labels, 1), 1)
    for block in (slice(first, first + rows) for first in range(0, images, rows)):
        inside, many = cells[block], per_row[block, None]
        width = int(many.max(initial=1))
        # Candidates move to the left, unless a full row leaves no room for that.
        filled = inside if width == labels else np.arange(width) < many
        place_bits = max(width - 1, 1).bit_length()
        dtype = np.uint32 if 64 - unused + place_bits <= 32 else np.uint64
        keys = np.full(filled.shape, np.iinfo(dtype).max, dtype=dtype)  # the rest comes last
        words = raw_words(rng, int(many.sum()))
        keys[filled] = words >> np.uint64(unused) << np.uint64(place_bits)
        keys |= np.arange(width, dtype=dtype)
        last = np.take_along_axis(np.sort(keys, axis=1), wanted[block] - 1, axis=1)
        chosen = (keys <= last) & (wanted[block] > 0)
        drawn[block][inside] = chosen[filled]
    return drawn
