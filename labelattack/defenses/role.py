"""Regularised online label estimation."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from labelattack.defenses import register
from labelattack.defenses.base import (
    PartialLabelLoss,
    Step,
    Task,
    count_penalty,
    expected_count,
    mixed_cross_entropy,
)
from labelattack.seeding import generator, random_keys


@register("role")
class RegularisedOnlineLabelEstimation(PartialLabelLoss):
    """Learns a table of label estimates together with the network.

    Half the sum, over predictions p and estimates q, of the observed cross-entropy, the penalty on
    the number of positives, and the cross-entropy of each against the other held fixed. The term
    for observed negatives is our extension: the source has none.

    Args:
        expected_positives: Positives per image, k; none means what the dataset declares.
        lr_scale: Learning rate of the table, as a multiple of the network's.
        unknown: Hidden estimates start with a logit uniform within plus and minus the log-odds of
            this probability.
        known: Observed positives start at this probability, observed negatives at 1 minus it.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    privileged: ClassVar[bool] = True
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    count: float
    estimates: Tensor

    def __init__(
        self,
        *,
        expected_positives: Annotated[float, Field(gt=0)] | None = None,
        lr_scale: Annotated[float, Field(gt=0)] = 10.0,
        unknown: Annotated[float, Field(ge=0.5, lt=1)] = 0.6,
        known: Annotated[float, Field(gt=0.5, lt=1)] = 0.995,
    ) -> None:
        super().__init__()
        self.expected_positives = expected_positives
        self.lr_scale = lr_scale
        self.unknown = unknown
        self.known = known

    def bind(self, task: Task) -> None:
        """Allocates the table of estimated logits, ``[images, labels]``."""
        self.count = expected_count("role", self.expected_positives, task)
        labels = task.labels
        keys = random_keys(generator(task.seed, "role"), labels.values.size)
        uniform = (keys / 2.0**64).reshape(labels.shape)
        start = _log_odds(self.unknown) * (2 * uniform - 1)
        start[labels.positives] = _log_odds(self.known)
        start[labels.negatives] = -_log_odds(self.known)
        self.estimates = nn.Parameter(torch.from_numpy(start.astype(np.float32)))

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels, plus the penalties."""
        estimated = self.estimates[step.index]
        p, q = logits.sigmoid(), estimated.sigmoid()
        # Cross-entropy of each with the observed labels, if any, and with the other's estimate.
        weight = 1.0 + (step.positives | step.negatives)
        terms = mixed_cross_entropy(
            logits, weight, step.positives + q.detach()
        ) + mixed_cross_entropy(estimated, weight, step.positives + p.detach())
        k = self.count
        return 0.5 * (terms.mean() + count_penalty(p, k) + count_penalty(q, k))


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
