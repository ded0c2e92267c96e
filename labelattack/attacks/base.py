"""Base classes of attacks on labels, and the random draws they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks.knowledge import NOTHING, Knowledge, Need
from labelattack.attacks.strata import words_near
from labelattack.errors import LabelError, PluginError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.seeding import generator, raw_words

RateOf = Literal["positives", "negatives", "labels", "images", "groups", "targets", "votes"]
_BLOCK = 1 << 18  # entries handled at a time


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack on labels: a [LabelAttack][labelattack.attacks.base.LabelAttack] or a corruption.

    Attributes:
        version: Raise it whenever the attack's output changes; results of two versions never mix.
        source: Publication of the attack.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        rate_of: Population of which ``rate``, if the attack has one, is a share: of the known
            positives, of the known negatives, of all known labels, of the images, of the groups, of
            the positives that the attack aims at, or of annotators' votes on positives.
        needs: Knowledge beside the labels that the attack uses; it is given no other.
        changes: Whether labels may be changed, not only hidden; boards keep the two apart.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    rate_of: ClassVar[RateOf] = "labels"
    needs: ClassVar[tuple[Need, ...]] = ()
    changes: ClassVar[bool] = False

    @final
    def __call__(
        self,
        labels: BoolArray | PartialLabels,
        *,
        seed: int,
        knowledge: Knowledge = NOTHING,
    ) -> PartialLabels:
        """Attacks labels.

        Args:
            labels: Complete labels, bool ``[images, labels]``, or labels of which some are unknown
                to begin with; rows without positives are legal.
            seed: Non-negative; the same seed gives the same result on every machine.
            knowledge: Knowledge of the images, for attacks that declare needs.

        Returns:
            The partial labels that remain.

        Raises:
            LabelError: If ``labels`` is neither.
            AttackError: If the attack needs knowledge that is not given.
            PluginError: If the attack returns anything but a mask of the right shape.
        """
        partial = (
            labels if isinstance(labels, PartialLabels) else PartialLabels.full(labels, copy=False)
        )
        if seed < 0:
            raise LabelError(f"seed must be at least 0, got {seed}")
        return self._attacked(
            partial, knowledge.for_attack(self, partial), generator(seed, "attack")
        )

    def at_strength(self, strength: float, labels: PartialLabels) -> Self:
        """The same attack, as strong as is said: by default with that ``rate``.

        Stronger attacks remove what weaker ones do, and more. An attack without a rate has one
        strength, and is returned as it is.

        Args:
            strength: From 0, nothing removed, to 1, as much as the attack can remove.
            labels: Labels before the attack.
        """
        del labels
        if not hasattr(self, "rate"):
            return self
        return replace(self, rate=strength)  # type: ignore[call-arg]

    @abstractmethod
    def _attacked(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> PartialLabels:
        """The labels that remain."""

    def _checked(self, method: str, mask: Any, shape: tuple[int, ...]) -> BoolArray:
        """A mask as the attack returned it; raises PluginError unless it has the shape."""
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != shape:
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask)
            raise PluginError(
                f"{type(self).__name__}.{method} must return a bool array {shape}, got {got}"
            )
        return mask


@dataclass(frozen=True, kw_only=True)
class LabelAttack(Attack):
    """A label-removal attack: returns a mask of the labels that stay known; cannot change a label.

    Subclass as a keyword-only frozen dataclass whose fields are the attack's parameters, implement
    [observe][labelattack.attacks.base.LabelAttack.observe] on the matrix of labels or
    [keep][labelattack.attacks.base.LabelAttack.keep] on the list of known entries, and register it.
    Where some labels are not known to begin with, only ``keep`` sees which; it also never needs the
    matrix, which for millions of images does not fit in memory. For one seed, the labels removed at
    a smaller rate must be a subset of those removed at a larger rate.
    """

    @abstractmethod
    def observe(self, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Selects the labels that stay known.

        Args:
            labels: Known positives, bool ``[images, labels]``; read-only.
            rng: The only permitted source of randomness.

        Returns:
            bool ``[images, labels]``, True where the label stays known. It does not matter what it
            says of entries that are not known to begin with.
        """

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Selects, of the known entries, those that stay known; by default as ``observe`` says.

        Args:
            labels: Labels, all of them known or not.
            rng: The only permitted source of randomness.

        Returns:
            bool ``[known]``, image by image, True where the label stays known.
        """
        mask = self.observe(labels.positives, rng)
        return labels.at_known(self._checked("observe", mask, labels.shape))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Derives ``observe`` for an attack that implements ``keep``."""
        super().__init_subclass__(**kwargs)
        if "keep" in vars(cls) and "observe" not in vars(cls):
            cls.observe = _of_full_labels  # type: ignore[method-assign]

    def _attacked(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> PartialLabels:
        del knowledge
        kept = self.keep(labels, rng)
        return labels.keep(self._checked("keep", kept, labels.known_values.shape))


def _of_full_labels(self: LabelAttack, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Selects the labels that stay known of complete ones."""
    return self.keep(PartialLabels.full(labels), rng).reshape(labels.shape)


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
    drawn = np.zeros(candidates.shape, dtype=np.bool_)
    drawn[candidates] = _smallest(total, round(rate * total), rng)
    return drawn


def _smallest(total: int, count: int, rng: np.random.Generator) -> BoolArray:
    """The ``count`` of ``total`` entries with the smallest ``random_keys``, bool ``[total]``.

    A key is the high bits of a word, then the position.
    """
    if not total:
        return np.zeros(0, dtype=np.bool_)
    bits = max(total - 1, 1).bit_length()
    before = rng.bit_generator.state
    alike = np.broadcast_to(np.uint8(0), total)
    # Words are uniform: except once in 10**15 draws, the last one drawn is within eight standard
    # deviations of its expected rank, so only words that near to it need sorting.
    for margin in (4 * math.isqrt(total) + 4, total):
        rng.bit_generator.state = before
        # Without a count, no word is below the limits, and none is near.
        low = (max(count - margin, 0) << 64) // total >> bits << bits
        high = (min(count + margin, total) << 64) // total - 1 | (1 << bits) - 1
        limits = np.array([[low], [high]], dtype=np.uint64)
        chosen, rows, words = words_near(alike, limits[0], limits[1], rng)
        missing = count - int(np.count_nonzero(chosen))
        if 0 <= missing <= len(rows):
            break
    order = np.argsort(words >> np.uint64(bits), kind="stable")
    chosen[rows[order[:missing]]] = True
    return chosen


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
    drawn = np.zeros(candidates.shape, dtype=np.bool_)
    drawn[candidates] = draw_within(np.count_nonzero(candidates, axis=1), counts, rng)
    return drawn


def draw_within(
    available: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
) -> BoolArray:
    """Draws ``counts[i]`` of the ``available[i]`` candidates of image i uniformly.

    Args:
        available: Number of candidates of each image, int64 ``[images]``.
        counts: Number to draw, int64 ``[images]``; more than the candidates draws all.
        rng: Source of randomness.

    Returns:
        Mask of all candidates, image by image, bool ``[sum of available]``; for one generator
        state, nested in the counts.
    """
    images, total = len(available), int(available.sum())
    quota = np.clip(counts, 0, available)[:, None]
    # Within an image, candidates are ordered by the high bits of their words (without as many low
    # bits as are needed to number all images and candidates), then by position. 32-bit keys, where
    # they fit, sort twice as fast as 64-bit ones.
    unused = max(images - 1, 1).bit_length() + max(total - 1, 1).bit_length()
    drawn = np.empty(total, dtype=np.bool_)
    rows, done = max(_BLOCK // max(int(available.max(initial=1)), 1), 1), 0
    for block in (slice(first, first + rows) for first in range(0, images, rows)):
        many = available[block, None]
        width = int(many.max(initial=1))
        filled = np.arange(width) < many  # candidates are packed to the left
        place_bits = max(width - 1, 1).bit_length()
        dtype = np.uint32 if 64 - unused + place_bits <= 32 else np.uint64
        keys = np.full(filled.shape, np.iinfo(dtype).max, dtype=dtype)  # the rest comes last
        words = raw_words(rng, int(many.sum()))
        keys[filled] = words >> np.uint64(unused) << np.uint64(place_bits)
        keys |= np.arange(width, dtype=dtype)
        last = np.take_along_axis(np.sort(keys, axis=1), quota[block] - 1, axis=1)
        chosen = (keys <= last) & (quota[block] > 0)
        drawn[done : done + len(words)] = chosen[filled]
        done += len(words)
    return drawn
