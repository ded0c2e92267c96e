"""Labels that a pool of annotators would find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf, draw_share
from labelattack.attacks.removal import without_positives
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray
from labelattack.seeding import raw_words

Share = Annotated[float, Field(ge=0, le=1)]


@register("annotator-pool")
@dataclass(frozen=True, kw_only=True)
class AnnotatorPool(LabelAttack):
    """Keeps the positives that a pool of annotators notices.

    Each annotator knows round(vocabulary * classes) classes, sees round(share * images) images,
    and overlooks each positive of both with the chance ``rate``, all drawn at random. A positive
    stays known by the votes of those who saw its image and know its class; what nobody could see
    is hidden. Our definition, after the recall, vocabulary and budget of annotators in the
    multi-annotator literature; there are no published settings.

    Args:
        annotators: Number of annotators, 1 to 64.
        rate: Chance that an annotator overlooks a positive (1 - recall), in [0, 1]. The share of
            the positives that is removed follows from all parameters.
        vocabulary: Share of the classes that each annotator knows, in [0, 1].
        share: Share of the images that each annotator sees, in [0, 1].
        rule: ``union`` keeps a positive that one of them noticed, ``majority`` one that more than
            half of them did.
        keep_negatives: Keep the negatives of classes that somebody knows who saw the image.
    """

    source: ClassVar[str] = "our definition; multi-annotator literature"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "votes"

    annotators: Annotated[int, Field(ge=1, le=64)] = 5
    rate: Share = 0.4
    vocabulary: Share = 1.0
    share: Share = 0.6
    rule: Literal["union", "majority"] = "union"
    keep_negatives: bool = False

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps what the annotators agree on."""
        images, classes = labels.shape
        rows, columns = labels.positive_entries()
        # Bit k of a number is annotator k.
        knows, sees = self._nobody(classes), self._nobody(images)
        noticed = self._nobody(len(rows))
        # Of 53 bits, so that the limit is exact; words do not depend on it, so that rates nest.
        limit = np.uint64(round(self.rate * 2**53))
        for k in range(self.annotators):
            knows |= self._bit(k, draw_share(np.ones(classes, np.bool_), self.vocabulary, rng))
            sees |= self._bit(k, draw_share(np.ones(images, np.bool_), self.share, rng))
            noticed |= self._bit(k, raw_words(rng, len(rows)) >> np.uint64(11) >= limit)
        asked = sees[rows] & knows[columns]
        noticed &= asked
        if self.rule == "union":
            found = noticed != 0
        else:
            found = 2 * self._count(noticed) > self._count(asked)
        if not self.keep_negatives:
            return without_positives(labels, ~found, keep_negatives=False)
        everyone = np.repeat(sees, labels.per_image())
        everyone &= knows[labels.known_columns]
        kept: BoolArray = everyone != 0
        kept[labels.known_values] = found
        return kept

    def _nobody(self, count: int) -> NDArray[Any]:
        return np.zeros(count, dtype=np.min_scalar_type((1 << self.annotators) - 1))

    def _bit(self, annotator: int, mask: BoolArray) -> NDArray[Any]:
        """A mask as the bit of an annotator."""
        dtype = self._nobody(0).dtype
        shifted: NDArray[Any] = mask.astype(dtype) << dtype.type(annotator)
        return shifted

    def _count(self, of: NDArray[Any]) -> IntArray:
        """Number of annotators in each number, int64."""
        one, count = of.dtype.type(1), np.zeros(len(of), dtype=np.int64)
        for k in range(self.annotators):
            count += of >> of.dtype.type(k) & one
        return count
