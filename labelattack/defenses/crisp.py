"""Class-prior risk of single-positive labels."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, negative_term


@register("crisp")
class ClassPriorRisk(PartialLabelLoss):
    """Absolute risk with class priors estimated after every epoch.

    Sum over classes j of (2 pi_j / n_Pj) sum over P_j of (1 - p) + |mean p_j - pi_j|. After each
    epoch pi_j = q(z) / q_P(z), with q(z) the share of all images, q_P(z) that of the n_Pj observed
    positives, whose prediction in evaluation mode is z or more, at the z that minimises
    q / q_P + (1 + tau) / q_P (sqrt(log(4 / delta) / 2n) + sqrt(log(4 / delta) / 2n_Pj)); of equal
    minima, the highest z. A class without observed positives keeps its prior.

    From the paper, without its lambda term, which was not legible to us; the authors' code was not
    to be had. Our readings: until the first epoch has ended pi_j is the observed share of
    positives n_Pj / n; n_Pj counts all training images, and the sum over P_j is n / B times that
    over a batch of B, so that it is right on average for classes that a batch lacks; the mean of
    p_j is that of the batch. The term for N, -log(1 - p), is our extension: the source has none.

    Native reduction: sum over classes of means over the batch. State: 8 bytes per label, none
    per image.

    Args:
        delta: Chance that the bound fails.
        tau: Slack of the bound.
    """

    source: ClassVar[str] = "Liu et al. 2023, CRISP; from the paper, lambda term left out"
    references: ClassVar[str] = "liu2023crisp"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    prior: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        delta: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        tau: Annotated[float, Field(ge=0)] = 0.01,
    ) -> None:
        super().__init__()
        self.delta = delta
        self.tau = tau

    def bind(self, task: Task) -> None:
        """Allocates priors and n / n_Pj, both ``[labels]``."""
        images = len(task.labels)
        positives = torch.from_numpy(task.labels.per_class("positives"))
        self.register_buffer("prior", (positives / images).float())
        self.register_buffer("scale", (images / positives.clamp_min(1)).float())

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Sum over classes."""
        p = logits.sigmoid()
        pulled = (step.positives * (1 - p)).mean(dim=0) * (2 * self.prior * self.scale)
        pushed = (step.negatives * negative_term(logits)).mean(dim=0)
        return (pulled + (p.mean(dim=0) - self.prior).abs() + pushed).sum()

    def end_epoch(self, logits: Tensor, step: Step) -> None:
        """Estimates the priors anew."""
        # Logits order as predictions do, and are not rounded to 1.
        ranked, order = logits.sort(dim=0, descending=True, stable=True)
        found = step.positives.gather(0, order).cumsum(dim=0).double()
        n, n_p = len(logits), found[-1]
        share = torch.arange(1, n + 1, device=logits.device).double()[:, None] / n
        share_p = found / n_p.clamp_min(1)
        width = math.log(4 / self.delta) / 2
        slack = math.sqrt(width / n) + (width / n_p.clamp_min(1)).sqrt()
        bound = (share + (1 + self.tau) * slack) / share_p
        ends = torch.ones_like(step.positives)  # of a run of equal scores
        ends[:-1] = ranked[1:] != ranked[:-1]
        best = torch.where(ends & (found > 0), bound, torch.inf).argmin(dim=0, keepdim=True)
        prior = (share / share_p).gather(0, best)[0].to(self.prior.dtype)
        self.prior = torch.where(n_p > 0, prior, self.prior)
