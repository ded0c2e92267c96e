"""Entropy maximisation with asymmetric pseudo-labels."""

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
)
from labelattack.defenses.em import PRESETS, with_entropy
from labelattack.defenses.terms import lowest

_PRESETS = {
    "voc": PRESETS["voc"] | {"warmup": 5, "beta": 0.02},
    "coco": PRESETS["coco"] | {"warmup": 5, "beta": 0.9},
    "nus-wide": PRESETS["nus-wide"] | {"warmup": 4, "beta": 0.2},
    "cub": PRESETS["cub"] | {"warmup": 3, "beta": 0.4},
}


@register("em-apl")
class EntropyMaximisationWithPseudoLabels(PartialLabelLoss):
    """Entropy maximisation, then soft labels for the lowest predictions.

    P: -log p. U: -alpha H(p), H = -p log p - (1 - p) log(1 - p), until the entry is chosen; then
    beta [-q log p - (1 - q) log(1 - p)]. At the end of every epoch t >= w, of E, the
    floor(theta n_U / (E - w)) unchosen unknown entries of a class with the lowest prediction in
    evaluation mode are chosen for good, and q is that prediction. n_U is the number of unknown
    entries of the class when training begins. Nothing is chosen if E <= w.

    Mean over batch and labels. State: 4 bytes per image and label. The term for N,
    -log(1 - p), is our extension: the source has none. The released code adds 1e-5 inside of
    logarithms and predicts under the transforms of training, which this does not; it leaves the
    order of equal predictions to its sort, here the earlier image comes first.

    Args:
        preset: The authors' settings for a dataset.
        alpha: Weight of the entropy; none means the preset's.
        warmup: w, the epoch that ends with the first choice; none means the preset's.
        beta: Weight of a chosen entry; none means the preset's.
        theta: Share of the unknown entries that are chosen by the end.
    """

    source: ClassVar[str] = "Zhou et al. 2022, Acknowledging the Unknown; settings from its code"
    references: ClassVar[str] = "zhou2022"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    soft: Tensor

    def __init__(
        self,
        *,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        alpha: Annotated[float, Field(ge=0)] | None = None,
        warmup: Annotated[int, Field(ge=1)] | None = None,
        beta: Annotated[float, Field(ge=0)] | None = None,
        theta: Annotated[float, Field(ge=0, le=1)] = 0.9,
    ) -> None:
        super().__init__()
        chosen = chosen_settings(_PRESETS, preset, alpha=alpha, warmup=warmup, beta=beta)
        self.alpha, self.beta = chosen["alpha"], chosen["beta"]
        self.warmup = int(chosen["warmup"])
        self.theta = theta

    def bind(self, task: Task) -> None:
        """Allocates the soft labels, ``[images, labels]``; -1 where there is none."""
        self.register_buffer("soft", torch.full(task.labels.shape, -1.0))

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        soft = self.soft[step.index].to(logits.dtype)
        chosen = soft >= 0
        free = step.hidden & ~chosen
        target = torch.where(chosen, soft, step.positives)
        weight = torch.where(chosen, self.beta, 1.0)
        return with_entropy(logits, free, self.alpha, target, weight)

    def end_epoch(self, logits: Tensor, step: Step) -> None:
        """Chooses entries, and keeps their predictions."""
        left = step.epochs - self.warmup
        if step.epoch < self.warmup or left <= 0:
            return
        unknown = step.hidden
        counts = [int(self.theta * number / left) for number in unknown.sum(dim=0).tolist()]
        predictions = logits.sigmoid()
        chosen = lowest(predictions, unknown & (self.soft < 0), counts)
        self.soft = torch.where(chosen, predictions.to(self.soft.dtype), self.soft)
