"""A training run: a network, a loss, and the labels and hyper-parameters to train it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from labelattack.defenses.base import PartialLabelLoss
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.training.inputs import Rows
from labelattack.training.loop import Scores
from labelattack.training.recipe import Recipe
from labelattack.training.validation import ValidationLabels


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One run, ready to train.

    Attributes:
        network: What [build][labelattack.training.protocols.base.TrainingProtocol.build] made.
        loss: A bound loss.
        kind: Runs of one kind have the same loss with the same parameters.
        labels: Attacked labels of the images that it trains on.
        validation: Validation labels that selection may see; None: nothing is validated, and the
            last epoch is taken.
        recipe: Hyper-parameters.
        seed: Seed of shuffling and augmentation.
        rows: Positions of these images among the prepared ones, int64 ``[images]``; None for all.
        loss_on: Gives the loss bound to some of the images, by their rows, as if there were no
            others; None where a run cannot be divided.
    """

    network: nn.Module
    loss: PartialLabelLoss
    kind: str
    labels: PartialLabels
    validation: ValidationLabels | None
    recipe: Recipe
    seed: int
    rows: Rows | None = None
    loss_on: Callable[[Rows], PartialLabelLoss] | None = None

    @property
    def order(self) -> tuple[int, bytes | None]:
        """Key of the images that it sees and of their order."""
        return self.seed, None if self.rows is None else self.rows.tobytes()

    @property
    def takes_last(self) -> bool:
        """Whether the last epoch is taken, whatever its validation mAP."""
        return self.validation is None or self.validation.takes_last

    def validate(self, scores: Scores) -> float:
        """Validation mAP of logits ``[images, labels]``; NaN where undefined or not validated."""
        chosen = self.validation
        if chosen is None:
            return float("nan")
        return mean_average_precision(scores, chosen.labels, scored=chosen.scored)
