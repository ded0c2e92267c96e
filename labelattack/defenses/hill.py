"""Hill loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.asl import focal_term
from labelattack.defenses.base import PartialLabelLoss, Step


@register("hill")
class HillLoss(PartialLabelLoss):
    """Likely positives among hidden labels cost less, like down a hill.

    P: (1 - p_m)^gamma (-log p_m), with p_m = sigmoid(z - margin); the weight has a gradient.
    N and U, which the source does not tell apart: (lam - p) p^2. Native reduction: sum.
    State: none.

    Args:
        lam: Height of the hill; its slope is 0 at p = 2/3 lam. 1.5 in all of the authors' runs.
        margin: Subtracted from the logits of positives; the authors recommend 0.5 to 1.
        gamma: Exponent of the weight on positives.
    """

    source: ClassVar[str] = "Zhang et al. 2021 (robust-loss-mlml)"
    references: ClassVar[str] = "zhang2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    reduction: ClassVar[Literal["mean", "sum"]] = "sum"

    def __init__(
        self,
        *,
        lam: Annotated[float, Field(ge=1)] = 1.5,
        margin: Annotated[float, Field(ge=0)] = 1.0,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
    ) -> None:
        super().__init__()
        self.lam = lam
        self.margin = margin
        self.gamma = gamma

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        p = logits.sigmoid()
        return torch.where(
            step.positives,
            focal_term(self.margin - logits, self.gamma),
            (self.lam - p) * p.square(),
        )
