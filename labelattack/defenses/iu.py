"""Ignore unobserved."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, observed_term


@register("iu")
class IgnoreUnobserved(PartialLabelLoss):
    """Binary cross-entropy on observed labels only; degenerate where no negative is observed."""

    source: ClassVar[str] = "Cole et al. 2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Sum over observed entries, divided by batch size times number of labels."""
        return observed_term(logits, step).mean()
