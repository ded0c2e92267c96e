"""Variational learning from positive and unlabelled data."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings, positive_term

PRESETS = {"voc": {"gamma": 0.85, "alpha": 2.0}, "coco": {"gamma": 0.55, "alpha": 1.0}}
_LEAST_SCALE = 1e-3


@register("pu-mlc")
class PositiveUnlabelled(PartialLabelLoss):
    """Positive-unlabelled learning of each class: no negative is assumed.

    Sum over classes of m^gamma log m - (mean over the batch's P of log q), where
    q = sigmoid(z / s), m is the mean of q over all images of the batch, and
    s = min(alpha times the standard deviation of z over the batch, 1). s and m^gamma have no
    gradient. A class without positives in the batch has the first term only. This is the released
    code; there, m^gamma is written as a power of 1 minus the mean of 1 - q. Its 1e-10 inside
    logarithms are not needed here.

    N counts as unlabelled, as in the source, which discards observed negatives on purpose. Where s
    is below 0.001, as in a batch of one image, the source divides by about 0; s is then 1, which is
    our extension. The source's second term, a mixup of images, needs their pixels and is left out.

    Reduction: a sum over classes of means over the batch, with nothing to divide as a recipe may
    ask of a sum. State: none.

    Args:
        preset: Data set whose settings, as on the authors' command lines, are used.
        gamma: Exponent of the weight on the first term; none means the preset's.
        alpha: Scale of the temperature; none means the preset's.
    """

    source: ClassVar[str] = "Yuan et al. 2024 (PU-MLC)"
    references: ClassVar[str] = "yuan2024"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(
        self,
        *,
        preset: Literal["voc", "coco"] = "voc",
        gamma: Annotated[float, Field(ge=0)] | None = None,
        alpha: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        chosen = chosen_settings(PRESETS, preset, gamma=gamma, alpha=alpha)
        self.gamma, self.alpha = chosen["gamma"], chosen["alpha"]

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Sum over classes."""
        scale = (self.alpha * logits.detach().std(dim=0, correction=0)).clamp_max(1)
        scale = torch.where(scale < _LEAST_SCALE, 1.0, scale)
        minus_log = positive_term(logits / scale)
        log_mean = torch.logsumexp(-minus_log, dim=0) - math.log(len(logits))
        weight = torch.exp(self.gamma * log_mean.detach())
        positives = step.positives
        shares = positives / positives.sum(dim=0).clamp_min(1)
        return (weight * log_mean).sum() + (shares * minus_log).sum()
