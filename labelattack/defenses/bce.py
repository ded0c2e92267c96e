"""Full-label references."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, assume_negative


@register("bce")
class BinaryCrossEntropy(PartialLabelLoss):
    """Binary cross-entropy on the clean labels: what no attack would give."""

    source: ClassVar[str] = "Zhang et al., Eq. 1"
    oracle: ClassVar[bool] = True

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels."""
        return assume_negative(logits, step).mean()


@register("bce-ls")
class SmoothedBinaryCrossEntropy(PartialLabelLoss):
    """Binary cross-entropy with label smoothing on the clean labels.

    Args:
        smoothing: Targets are 1 - smoothing and smoothing.
    """

    source: ClassVar[str] = "Zhang et al., Eq. 1; Szegedy et al. 2016 for smoothing"
    oracle: ClassVar[bool] = True

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels."""
        return assume_negative(logits, step, self.smoothing).mean()
