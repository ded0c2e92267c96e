"""Expected positive regularisation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import (
    PartialLabelLoss,
    Step,
    Task,
    count_penalty,
    expected_count,
    observed_term,
)


@register("epr")
class ExpectedPositiveRegularisation(PartialLabelLoss):
    """Cross-entropy on observed labels, plus a penalty on the number of predicted positives.

    The term for observed negatives is our extension: the source has none.

    Args:
        expected_positives: Positives per image, k; none means what the dataset declares.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    privileged: ClassVar[bool] = True
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    count: float

    def __init__(self, *, expected_positives: Annotated[float, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.expected_positives = expected_positives

    def bind(self, task: Task) -> None:
        """Takes k from the task unless it is a parameter."""
        self.count = expected_count("epr", self.expected_positives, task)

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels, plus the squared relative error of the count."""
        penalty = count_penalty(logits.sigmoid(), self.count)
        return observed_term(logits, step).mean() + penalty
