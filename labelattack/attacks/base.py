"""What an attack is, and the draws that attacks are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, PluginError
from labelattack.labels import BoolArray, PartialLabels, check_matrix
from labelattack.seeding import generator, random_keys

_BLOCK = 1 << 20  # cells drawn from at once


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
    candidates = np.flatnonzero(cells)
    keys = random_keys(rng, len(candidates))
    count = round(rate * len(candidates))
    drawn = np.zeros(cells.size, dtype=np.bool_)
    if count:
        drawn[candidates[keys <= np.partition(keys, count - 1)[count - 1]]] = True
    return drawn.reshape(cells.shape)


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
    per_row = cells.sum(axis=1)
    ends = np.cumsum(per_row)
    row_bits = np.uint64(max(len(cells) - 1, 1).bit_length())
    low_bits = np.uint64(max(int(per_row.sum()) - 1, 1).bit_length())
    low = (np.uint64(1) << low_bits) - np.uint64(1)
    drawn = np.zeros(cells.shape, dtype=np.bool_)
    # Blocks of rows bound the memory; a sort of single words, (row, random bits, position), does
    # what a sort by two keys would.
    starts = np.arange(0, ends[-1] if len(ends) else 0, _BLOCK)
    blocks = np.unique(np.searchsorted(ends, starts))
    for first, last in pairwise([*blocks, len(cells)]):
        candidates = np.flatnonzero(cells[first:last])
        rows = candidates // max(cells.shape[1], 1)
        place = np.arange(len(rows)) - (np.cumsum(per_row[first:last]) - per_row[first:last])[rows]
        keys = random_keys(rng, len(rows))
        keys = rows.astype(np.uint64) << (np.uint64(64) - row_bits) | keys >> row_bits
        keys = np.sort(keys >> low_bits << low_bits | np.arange(len(rows), dtype=np.uint64))
        order = (keys & low).astype(np.int64)
        drawn[first:last].reshape(-1)[candidates[order[place < counts[first:last][rows]]]] = True
    return drawn
