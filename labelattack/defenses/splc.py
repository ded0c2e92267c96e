"""Self-paced loss correction."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.asl import focal_term
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings

PRESETS = {"general": {"tau": 0.6}, "coco-75": {"tau": 0.65}}


@register("splc")
class SelfPacedLossCorrection(PartialLabelLoss):
    """Focal loss to which a confident hidden label is a positive.

    P: (1 - p_m)^gamma (-log p_m), with p_m = sigmoid(z - margin). U with p > tau, from epoch
    ``first_epoch``: (1 - p)^gamma (-log p), without the margin. Other U: p^gamma (-log(1 - p)).
    Weights have a gradient. N: as the other U, never corrected, which is our extension: the source
    does not tell N from U. Native reduction: sum. State: none.

    Args:
        preset: ``general`` has tau .6; ``coco-75`` is the authors' .65 for MS-COCO with 75 % of
            its positives left.
        tau: Prediction above which a hidden label counts as positive; none means the preset's.
        first_epoch: First epoch with corrections. The released code says 1, counted from 0.
        margin: Subtracted from the logits of observed positives.
        gamma: Exponent of the weights.
    """

    source: ClassVar[str] = "Zhang et al. 2021 (robust-loss-mlml)"
    references: ClassVar[str] = "zhang2021"
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = False
    reduction: ClassVar[Literal["mean", "sum"]] = "sum"

    def __init__(
        self,
        *,
        preset: Literal["general", "coco-75"] = "general",
        tau: Annotated[float, Field(gt=0, lt=1)] | None = None,
        first_epoch: Annotated[int, Field(ge=1)] = 2,
        margin: Annotated[float, Field(ge=0)] = 1.0,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
    ) -> None:
        super().__init__()
        self.tau = chosen_settings(PRESETS, preset, tau=tau)["tau"]
        self.first_epoch = first_epoch
        self.margin = margin
        self.gamma = gamma

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        positives = step.positives
        if step.epoch >= self.first_epoch:
            confident = logits > math.log(self.tau / (1 - self.tau))
            positives = positives | (confident & ~step.negatives)
        against = torch.where(positives, -logits, logits) + self.margin * step.positives
        return focal_term(against, self.gamma)
