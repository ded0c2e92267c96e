"""Generalised robust loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings, negative_term

_OTHERS = {"slope_end": 10.0, "offset_end": -8.0, "q3": 1.0}
PRESETS = {
    "voc": {"slope_end": 2.0, "offset_end": -2.0, "q3": 1.0},
    "coco": _OTHERS,
    "nus-wide": _OTHERS,
    "cub": _OTHERS | {"q3": 1.5},
}
Exponent = Annotated[float, Field(gt=0)]


def between(start: float, end: float, share: float) -> float:
    """Value of a linear schedule after a share of its way."""
    return start + (end - start) * share


def robust_term(
    logits: Tensor, p: Tensor, minus_log_rest: Tensor, chance: Tensor, q2: float, q3: float
) -> Tensor:
    """Robust losses of both signs, mixed: k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3.

    Args:
        logits: Of any shape.
        p: Their sigmoid.
        minus_log_rest: -log(1 - p).
        chance: That the label is positive, k.
        q2: Exponent of the loss of a positive.
        q3: Exponent of the loss of a negative.
    """
    positive = (1 - torch.exp(q2 * (logits - minus_log_rest))) / q2
    negative = p if q3 == 1 else (1 - torch.exp(-q3 * minus_log_rest)) / q3
    return torch.lerp(negative, positive, chance)


@register("gr")
class GeneralisedRobustLoss(PartialLabelLoss):
    """Robust losses of both signs on hidden labels, mixed by the prediction.

    P: -log p. U: v [k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3], where
    k = sigmoid(w p + b) is the assumed chance of a positive and v = exp(-(p - m)^2 / (2 s^2)) a
    confidence; neither has a gradient. In epoch t of E, w and b have gone (t - 1)/E of their way,
    m and s t/E. N: -log(1 - p), which is our extension: the source has no observed negatives. Its
    1e-7 inside the logarithm is not needed here. Mean over batch and labels. State: none.

    Settings for VOC are the authors'; those for the others are the configurations that the authors
    of GPR (AEVLP) released for their build on this loss.

    Args:
        preset: Data set whose ``slope_end``, ``offset_end`` and ``q3`` are used.
        slope_start: w at first.
        slope_end: w in the end; none means the preset's.
        offset_start: b at first.
        offset_end: b in the end; none means the preset's.
        centre_start: m at first.
        centre_end: m in the end.
        width_start: s at first.
        width_end: s in the end.
        q2: Exponent of the loss of a positive; the smaller, the nearer to -log p.
        q3: Exponent of the loss of a negative; none means the preset's.
    """

    source: ClassVar[str] = "Chen et al. 2024 (GRLoss)"
    references: ClassVar[str] = "chen2024"
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = False

    def __init__(
        self,
        *,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        slope_start: float = 0.0,
        slope_end: float | None = None,
        offset_start: float = -2.0,
        offset_end: float | None = None,
        centre_start: float = 0.5,
        centre_end: float = 0.8,
        width_start: Exponent = 2.0,
        width_end: Exponent = 0.5,
        q2: Exponent = 0.01,
        q3: Exponent | None = None,
    ) -> None:
        super().__init__()
        chosen = chosen_settings(PRESETS, preset, slope_end=slope_end, offset_end=offset_end, q3=q3)
        self.slope = slope_start, chosen["slope_end"]
        self.offset = offset_start, chosen["offset_end"]
        self.centre = centre_start, centre_end
        self.width = width_start, width_end
        self.q2, self.q3 = q2, chosen["q3"]

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        p, minus_log_rest = logits.sigmoid(), negative_term(logits)
        chance, confidence = self.weights(p.detach(), step)
        hidden = confidence * robust_term(logits, p, minus_log_rest, chance, self.q2, self.q3)
        observed = minus_log_rest - step.positives * logits
        return torch.where(step.hidden, hidden, observed)

    def weights(self, p: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Chance k and confidence v, per entry, of predictions without a gradient."""
        begun, ended = (step.epoch - 1) / step.epochs, step.epoch / step.epochs
        width = between(*self.width, ended)
        chance = torch.sigmoid(between(*self.slope, begun) * p + between(*self.offset, begun))
        distance = p - between(*self.centre, ended)
        return chance, torch.exp(distance.square() * (-0.5 / width**2))
