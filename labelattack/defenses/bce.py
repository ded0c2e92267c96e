"""References: binary cross-entropy on all labels that are known."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, assume_negative


@register("bce")
class BinaryCrossEntropy(PartialLabelLoss):
    """Binary cross-entropy on all known labels: what no attack would give.

    Labels that are not known to begin with are left out. Where no negative is known there would be
    nothing to learn from; they then count as negative.
    """

    source: ClassVar[str] = "Zhang et al., Eq. 1"
    references: ClassVar[str] = "zhang2024"
    oracle: ClassVar[bool] = True
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(self) -> None:
        super().__init__()
        self.smoothing, self.leaves_out = 0.0, False

    def bind(self, task: Task) -> None:
        """Sees whether there are labels to leave out, and negatives without them."""
        labels = task.labels
        self.leaves_out = labels.known > labels.known_positives and not labels.is_complete

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        terms = assume_negative(logits, step, self.smoothing)
        return ~step.hidden * terms if self.leaves_out else terms


@register("bce-ls")
class SmoothedBinaryCrossEntropy(BinaryCrossEntropy):
    """Binary cross-entropy with label smoothing on all known labels.

    Args:
        smoothing: Targets are 1 - smoothing and smoothing.
    """

    source: ClassVar[str] = "Zhang et al., Eq. 1; Szegedy et al. 2016 for smoothing"
    references: ClassVar[str] = "zhang2024 szegedy2016"

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing
