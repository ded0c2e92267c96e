"""Entropy maximisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings

PRESETS = {
    "voc": {"alpha": 0.2},
    "coco": {"alpha": 0.1},
    "nus-wide": {"alpha": 0.1},
    "cub": {"alpha": 0.01},
}


@register("em")
class EntropyMaximisation(PartialLabelLoss):
    """Cross-entropy on observed labels, maximal entropy on hidden ones.

    P: -log p. U: -alpha H(p), with H(p) = -p log p - (1 - p) log(1 - p). N: -log(1 - p), which is
    our extension: the source has no observed negatives. The source's 1e-5 inside the logarithm is
    not needed here. Mean over batch and labels. State: none.

    Args:
        preset: Data set whose alpha, as released by the authors, is used.
        alpha: Weight of the entropy; none means the preset's.
    """

    source: ClassVar[str] = "Zhou et al. 2022"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(
        self,
        *,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        alpha: Annotated[float, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__()
        self.alpha = chosen_settings(PRESETS, preset, alpha=alpha)["alpha"]

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels."""
        hidden = step.hidden
        # Entropy is the cross-entropy to the prediction itself.
        target = torch.where(hidden, logits.sigmoid(), step.positives.to(logits.dtype))
        weight = torch.where(hidden, -self.alpha, 1.0)
        return (weight * (softplus(logits) - target * logits)).mean()
