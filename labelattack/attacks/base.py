"""Base class of label-removal attacks, and the random draws they share."""

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

_BLOCK = 1 << 18  # entries handled at a time


@dataclass(frozen=True, kw_only=True)
class LabelAttack(ABC):
    """A label-removal attack: returns a mask of the labels that stay known; cannot change a label.

    Subclass as a keyword-only frozen dataclass whose fields are the attack's parameters, implement
    [observe][labelattack.attacks.base.LabelAttack.observe], and register it. For one seed, the
    labels removed at a smaller rate must be a subset of those removed at a larger rate.

    Attributes:
        version: Raise it whenever the attack's output changes; results of two versions never mix.
        source: Publication of the attack.
        rate_of: Population of which ``rate``, if the attack has one, is a share.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    rate_of: ClassVar[Literal["positives", "labels"]] = "labels"

    @abstractmethod
    def observe(self, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Selects the labels that stay known.

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
            The partial labels that remain.

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


def draw_share(candidates: BoolArray, rate: float, rng: np.random.Generator) -> BoolArray:
    """Draws ``round(rate * n)`` of the n candidate entries uniformly, over the whole matrix.

    Args:
        candidates: Mask of the candidates, bool ``[images, labels]``.
        rate: Share to draw, in [0, 1].
        rng: Source of randomness.

    Returns:
        bool ``[images, labels]``; for one generator state, nested in the rate.
    """
    total = int(np.count_nonzero(candidates))
    words, count = raw_words(rng, total), round(rate * total)
    drawn = np.zeros(candidates.shape, dtype=np.bool_)
    if not count:
        return drawn
    # Entries with the smallest ``random_keys`` are drawn: high bits of the word, then the position.
    bits = max(total - 1, 1).bit_length()
    # Words are uniform: except once in 10**15 draws, the last one drawn is within eight standard
    # deviations of its expected rank, so only words that near to it need sorting.
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
    drawn[candidates] = chosen
    return drawn


def draw_per_image(
    candidates: BoolArray, counts: NDArray[np.int64], rng: np.random.Generator
) -> BoolArray:
    """Draws ``counts[i]`` of the candidate entries of image i uniformly.

    Args:
        candidates: Mask of the candidates, bool ``[images, labels]``.
        counts: Number to draw, int64 ``[images]``; more than the candidates draws all.
        rng: Source of randomness.

    Returns:
        bool ``[images, labels]``; for one generator state, nested in the counts.
    """
    images, labels = candidates.shape
    per_row = np.count_nonzero(candidates, axis=1)
    quota = np.clip(counts, 0, per_row)[:, None]
    # Within a row, entries are ordered by the high bits of their words (without as many low bits as
    # are needed to number all rows and candidates), then by position. 32-bit keys, where they
    # fit, sort twice as fast as 64-bit ones.
    unused = max(images - 1, 1).bit_length() + max(int(per_row.sum()) - 1, 1).bit_length()
    drawn = np.zeros(candidates.shape, dtype=np.bool_)
    rows = max(_BLOCK // max(labels, 1), 1)
    for block in (slice(first, first + rows) for first in range(0, images, rows)):
        inside, many = candidates[block], per_row[block, None]
        width = int(many.max(initial=1))
        # Candidates are packed to the left, unless some row is full.
        filled = inside if width == labels else np.arange(width) < many
        place_bits = max(width - 1, 1).bit_length()
        dtype = np.uint32 if 64 - unused + place_bits <= 32 else np.uint64
        keys = np.full(filled.shape, np.iinfo(dtype).max, dtype=dtype)  # the rest comes last
        words = raw_words(rng, int(many.sum()))
        keys[filled] = words >> np.uint64(unused) << np.uint64(place_bits)
        keys |= np.arange(width, dtype=dtype)
        last = np.take_along_axis(np.sort(keys, axis=1), quota[block] - 1, axis=1)
        chosen = (keys <= last) & (quota[block] > 0)
        drawn[block][inside] = chosen[filled]
    return drawn
