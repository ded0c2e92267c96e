"""Early-learning regularisation."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, assume_negative


@register("elr")
class EarlyLearningRegularisation(PartialLabelLoss):
    """Assume negative, held to the running mean of predictions.

    Each label is a problem of two classes with predictions p and 1 - p: P: -log p; N, U:
    -log(1 - p); and on all lambda log(1 - p t - (1 - p) s). Before that, each time an image is in
    a step, t becomes beta t + (1 - beta) p and s becomes beta s + (1 - beta)(1 - p), both from 0
    and without gradient. As in the source p is kept within 1e-4 of 0 and 1 there, which bounds
    the logarithm from below; in the logarithm itself the source does so too, and then has no
    gradient beyond, which this does not. The source adds up the classes of an image in the
    logarithm; one problem per label is our reading for several labels.

    The regulariser that IDMN (2024) calls ELR is another: it detaches p, so has no gradient at all.

    Mean over batch and labels. State: 4 bytes per image and label, and 4 per image.

    Args:
        beta: Weight of the past; the source has 0.7 for CIFAR-10, 0.9 for CIFAR-100.
        weight: lambda; the source has 3 and 7.
    """

    source: ClassVar[str] = "Liu et al. 2020, Early-Learning Regularization"
    references: ClassVar[str] = "liu2020"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    mean: Tensor
    mass: Tensor

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(ge=0, lt=1)] = 0.7,
        weight: Annotated[float, Field(ge=0)] = 3.0,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.weight = weight

    def bind(self, task: Task) -> None:
        """Allocates t, ``[images, labels]``, and t + s, which is one number per image."""
        self.register_buffer("mean", torch.zeros(task.labels.shape))
        self.register_buffer("mass", torch.zeros(len(task.labels)))

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        p = logits.sigmoid()
        seen = p.detach().clamp(1e-4, 1 - 1e-4)
        mean = torch.lerp(seen, self.mean[step.index].to(p.dtype), self.beta)
        mass = self.beta * self.mass[step.index].to(p.dtype) + (1 - self.beta)
        self.mean[step.index] = mean.to(self.mean.dtype)
        self.mass[step.index] = mass.to(self.mass.dtype)
        # 1 - p t - (1 - p) s, as a sum of what is not negative.
        apart = p * (1 - mean) + (1 - p) * (1 - mass[:, None] + mean)
        return assume_negative(logits, step) + self.weight * apart.log()
