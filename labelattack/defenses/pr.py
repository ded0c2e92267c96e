"""Pairwise ranking."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, negative_term


@register("pr")
class PairwiseRanking(PartialLabelLoss):
    """Every observed positive is to score above every hidden label.

    Per image, the sum over i in P and j in U of max(0, 1 - p_i + p_j); the sum over the batch is
    divided by batch size times number of labels, as in the source. N: -log(1 - p), divided so too,
    which is our extension: the source has no observed negatives. As no p is outside [0, 1], no
    maximum is ever 0 and the double sum is |U| sum over P of (1 - p) plus |P| sum over U of p,
    which takes no table of pairs. State: none.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        p, hidden, positives = logits.sigmoid(), step.hidden, step.positives
        below = hidden.sum(dim=1, keepdim=True) * positives
        above = positives.sum(dim=1, keepdim=True) * hidden
        return below * (1 - p) + above * p + step.negatives * negative_term(logits)
