"""Weak assume negative."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, cross_entropy


@register("wan")
class WeakAssumeNegative(PartialLabelLoss):
    """Assume negative with hidden labels down-weighted.

    Observed negatives have full weight, which is our extension: the source has none.

    Args:
        weight: Weight of a hidden label; none means 1 / (labels - 1).
    """

    source: ClassVar[str] = "Mac Aodha et al. 2019; Cole et al. 2021"
    references: ClassVar[str] = "macaodha2019 cole2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(self, *, weight: Annotated[float, Field(ge=0)] | None = None) -> None:
        super().__init__()
        self.weight = weight

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        weight = 1 / max(logits.shape[1] - 1, 1) if self.weight is None else self.weight
        return torch.where(step.hidden, weight, 1.0) * cross_entropy(logits, step.positives)
