"""Pseudo-positives by a threshold on predictions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import (
    PartialLabelLoss,
    Step,
    Task,
    chosen_settings,
    cross_entropy,
)
from labelattack.defenses.terms import lowest

_PRESETS = {
    "voc": {"warmup": 2},
    "coco": {"warmup": 5},
    "nus-wide": {"warmup": 5},
    "cub": {"warmup": 15},
}


@register("pseudo-threshold")
class PseudoThreshold(PartialLabelLoss):
    """Assume negative, with sure predictions as positives after a warm-up.

    P and pseudo-positives: -log p; N and all other U: -log(1 - p). At the end of every epoch from
    the warm-up's last on, unknown entries with p > theta become pseudo-positives for good; p is
    the prediction in evaluation mode at the end of that epoch. It is the pseudo-label half of the
    source, whose other half wants a stochastic head; N is told from U by us.

    ``class-quantile`` is our adaptation of class-aware thresholds (Xie et al. 2023), made for
    data without any labels on some images: of the n_U unknown entries of a class the
    floor(n_U n_P / n) with the highest p are pseudo-positives, n_P of the n images being
    observed positives of it, so that the share is that observed. They are chosen anew after each
    epoch, as there. Of equal entries the earlier image comes first.

    Mean over batch and labels. State: 1 byte per image and label.

    Args:
        preset: The authors' warm-up for a dataset.
        theta: Threshold, where it is fixed.
        warmup: The epoch that ends with the first choice; none means the preset's.
        threshold: Whether the threshold is fixed, or a quantile of each class.
    """

    source: ClassVar[str] = "MIME (Liu et al.), its pseudo-labels only, from its code"
    references: ClassVar[str] = "liu2023mime"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    pseudo: Tensor

    def __init__(
        self,
        *,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        theta: Annotated[float, Field(ge=0, le=1)] = 0.8,
        warmup: Annotated[int, Field(ge=1)] | None = None,
        threshold: Literal["fixed", "class-quantile"] = "fixed",
    ) -> None:
        super().__init__()
        self.theta = theta
        self.warmup = chosen_settings(_PRESETS, preset, warmup=warmup)["warmup"]
        self.threshold = threshold

    def bind(self, task: Task) -> None:
        """Allocates the pseudo-positives, bool ``[images, labels]``."""
        self.register_buffer("pseudo", torch.zeros(task.labels.shape, dtype=torch.bool))

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        return cross_entropy(logits, step.positives | self.pseudo[step.index])

    def end_epoch(self, logits: Tensor, step: Step) -> None:
        """Chooses pseudo-positives."""
        if step.epoch < self.warmup:
            return
        unknown = step.hidden
        if self.threshold == "fixed":
            self.pseudo = self.pseudo | (unknown & (logits.sigmoid() > self.theta))
            return
        sums = (mask.sum(dim=0).tolist() for mask in (unknown, step.positives))
        counts = [hidden * seen // len(logits) for hidden, seen in zip(*sums, strict=True)]
        self.pseudo = lowest(-logits, unknown, counts)
