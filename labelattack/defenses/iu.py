"""Ignore unobserved."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, observed_term


@register("iu")
class IgnoreUnobserved(PartialLabelLoss):
    """Binary cross-entropy on observed labels only; degenerate where no negative is observed.

    P: -log p. N: -log(1 - p). U: 0. State: none.

    Args:
        normaliser: Divisor of the sum: ``labels``, batch size times number of labels (Cole et al.),
            or ``known``, the number of observed entries in the batch, as the baseline of papers on
            partial labels has it; the loss is then 0 where there are none.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(self, *, normaliser: Literal["labels", "known"] = "labels") -> None:
        super().__init__()
        self.normaliser = normaliser

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Sum over observed entries, divided by the normaliser."""
        if self.normaliser == "labels":
            return super().loss(logits, step)
        return self.terms(logits, step).sum() / (~step.hidden).sum().clamp_min(1)

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        return observed_term(logits, step)
