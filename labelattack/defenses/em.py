"""Entropy maximisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings, cross_entropy

PRESETS = {
    "voc": {"alpha": 0.2},
    "coco": {"alpha": 0.1},
    "nus-wide": {"alpha": 0.1},
    "cub": {"alpha": 0.01},
}


def with_entropy(
    logits: Tensor, free: Tensor, alpha: float, target: Tensor, weight: Tensor | float = 1.0
) -> Tensor:
    """Weighted cross-entropy; on free entries -alpha times the entropy instead, per entry.

    Args:
        logits: Of any shape.
        free: Entries whose entropy is maximised, bool, likewise.
        alpha: Weight of the entropy.
        target: Targets of the others, bool or float, likewise.
        weight: Weight of the others.
    """
    # Entropy is the cross-entropy of a prediction with itself.
    target = torch.where(free, logits.sigmoid(), target)
    return torch.where(free, -alpha, weight) * cross_entropy(logits, target)


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
    references: ClassVar[str] = "zhou2022"
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

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        return with_entropy(logits, step.hidden, self.alpha, step.positives)
