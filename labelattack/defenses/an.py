"""Assume negative: hidden labels count as absent."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, assume_negative


@register("an")
class AssumeNegative(PartialLabelLoss):
    """Binary cross-entropy with hidden labels as negatives."""

    source: ClassVar[str] = "Kundu and Tighe 2020; Cole et al. 2021"
    references: ClassVar[str] = "kundu2020 cole2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        return assume_negative(logits, step)


@register("an-ls")
class SmoothedAssumeNegative(PartialLabelLoss):
    """Assume negative with label smoothing on both sides.

    Args:
        smoothing: Targets are 1 - smoothing and smoothing.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        return assume_negative(logits, step, self.smoothing)
