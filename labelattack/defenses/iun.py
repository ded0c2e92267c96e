"""Oracle that is told all true negatives, and no positive that an attack removed."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, cross_entropy
from labelattack.errors import DefenseError


@register("iun")
class IgnoreUnobservedPositives(PartialLabelLoss):
    """Observed positives and all true negatives; removed positives are ignored.

    P: -log p. True negatives, hidden or not: -log(1 - p). All else, which is the positives that the
    attack removed and labels that were never known: 0. Mean over batch and labels. An oracle: it is
    told the labels from before the attack. The released code looks for true negatives under a value
    that they do not have and so has none; the formula is what the paper says and what the authors
    of EM and APL compute. State: one byte per image and label.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    oracle: ClassVar[bool] = True
    sees_attack: ClassVar[bool] = True
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    true_negatives: Tensor

    def __init__(self) -> None:
        super().__init__()

    def bind(self, task: Task) -> None:
        """Takes the true negatives from the labels before the attack.

        Raises:
            DefenseError: If the task does not have them.
        """
        if task.known is None:
            raise DefenseError(
                "defense 'iun' needs the labels from before the attack, got none; give them as "
                "Task(known=...)"
            )
        self.register_buffer("true_negatives", torch.from_numpy(task.known.negatives.copy()))

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        told = step.positives | self.true_negatives[step.index]
        return told * cross_entropy(logits, step.positives)
