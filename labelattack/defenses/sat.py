"""Self-adaptive training."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, cross_entropy


@register("sat")
class SelfAdaptiveTraining(PartialLabelLoss):
    """Cross-entropy with targets that follow the predictions.

    -t log p - (1 - t) log(1 - p). A target t begins as the label, with U as negatives. In epochs
    after the start it is first replaced by m t + (1 - m) p, in each step that the image is in; no
    gradient goes through it.

    Mean over batch and labels. State: 4 bytes per image and label. The multi-label form, m and
    the start are those of IDMN's code (of 50 epochs), which lets a gradient through the target;
    Huang et al. do not, nor does this. ``hidden`` is our extension: only targets of U move.

    Args:
        momentum: m.
        start: Epochs in which targets stay as they are.
        scope: Whether ``all`` targets move, or those of ``hidden`` entries only.
    """

    source: ClassVar[str] = "Huang et al. 2020; multi-label form of IDMN (2024)"
    references: ClassVar[str] = "huang2020 kim2024"
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = True
    targets: Tensor

    def __init__(
        self,
        *,
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.9,
        start: Annotated[int, Field(ge=0)] = 5,
        scope: Literal["all", "hidden"] = "all",
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.start = start
        self.scope = scope

    def bind(self, task: Task) -> None:
        """Allocates the targets, ``[images, labels]``."""
        self.register_buffer("targets", torch.from_numpy(task.labels.positives.copy()).float())

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        target = self.targets[step.index].to(logits.dtype)
        if step.epoch > self.start:
            moved = torch.lerp(logits.detach().sigmoid(), target, self.momentum)
            target = moved if self.scope == "all" else torch.where(step.hidden, moved, target)
            self.targets[step.index] = target.to(self.targets.dtype)
        return cross_entropy(logits, target)
