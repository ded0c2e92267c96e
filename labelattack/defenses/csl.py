"""Class-aware selective loss."""

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
    cross_entropy,
)
from labelattack.defenses.side import TablePath, priors_for

_PRESETS = {
    "rps": {"gamma_pos": 0.0, "gamma_neg": 1.0, "gamma_unknown": 4.0},
    "fpc": {"gamma_pos": 0.0, "gamma_neg": 3.0, "gamma_unknown": 4.0},
}
# Instead of the prior of a class, while it is not known.
_IGNORED, _ASSUMED = 2.0, -1.0
Gamma = Annotated[float, Field(ge=0)]


@register("csl")
class ClassAwareSelectiveLoss(PartialLabelLoss):
    """Asymmetric focal loss that ignores the likeliest unknown labels.

    Sum over batch and labels of P: -(1 - p)^g+ log p; N: -p^g- log(1 - p); U: -p^g_u log(1 - p),
    but 0 for the K B unknown entries of the batch of B images with the smallest 1 - p, and for all
    unknown entries of classes whose prior, the share of images that have it, is above eta. The
    focal weights have no gradient. No probability margin, as the released default is 0. Of equal
    entries the earlier image is ignored, then the earlier class; the source leaves that open.

    Priors are those of a file or of the dataset, else the loss estimates them: for its first
    epochs it leaves all unknown entries out, and then takes the mean prediction of each class over
    the training images. The source trains another network for that and averages predictions of
    training steps; one training in two phases is our reading. Where no negative at all is observed
    the first phase takes unknown entries for negatives, and ignores none, which is our extension:
    otherwise every prior would become 1.

    State: 4 bytes per label, none per image.

    Args:
        preset: The authors' focusing: ``rps`` for entries that are known at random, ``fpc`` for
            labels of which a fixed number per class is known.
        gamma_pos: g+; none means the preset's.
        gamma_neg: g-; none means the preset's.
        gamma_unknown: g_u; none means the preset's.
        likeliest: K, ignored entries per image of a batch.
        eta: Largest prior of a class whose unknown entries count.
        priors: A file ``class,prior``; none means those of the dataset, else an estimate.
        warmup: Epochs of the first phase, which a shorter training does not leave. The source has
            no such number; 3 is the shortest warm-up of entropy maximisation with pseudo-labels,
            and leaves most of ten epochs to the second phase.
    """

    source: ClassVar[str] = "Ben-Baruch et al. 2022; settings from its code"
    references: ClassVar[str] = "benbaruch2022"
    side_tables: ClassVar[tuple[str, ...]] = ("priors",)
    reduction: ClassVar[Literal["mean", "sum"]] = "sum"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    prior: Tensor

    def __init__(
        self,
        *,
        preset: Literal["rps", "fpc"] = "rps",
        gamma_pos: Gamma | None = None,
        gamma_neg: Gamma | None = None,
        gamma_unknown: Gamma | None = None,
        likeliest: Annotated[int, Field(ge=0)] = 5,
        eta: Annotated[float, Field(ge=0, le=1)] = 0.5,
        priors: TablePath | None = None,
        warmup: Annotated[int, Field(ge=1)] = 3,
    ) -> None:
        super().__init__()
        self.gammas = chosen_settings(
            _PRESETS,
            preset,
            gamma_pos=gamma_pos,
            gamma_neg=gamma_neg,
            gamma_unknown=gamma_unknown,
        )
        self.likeliest = likeliest
        self.eta = eta
        self.priors = priors
        self.warmup = warmup
        self.estimates = False

    def bind(self, task: Task) -> None:
        """Takes the priors, ``[labels]``, or says how the first phase does without."""
        labels = task.labels
        self.estimates = self.priors is None and task.side.priors is None
        if self.estimates:
            no_negative = labels.known == labels.known_positives
            prior = torch.full(labels.shape[1:], _ASSUMED if no_negative else _IGNORED)
        else:
            prior = torch.tensor(priors_for("csl", self.priors, task), dtype=torch.float32)
        self.register_buffer("prior", prior)

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        fixed, positives, unknown = logits.detach(), step.positives, step.hidden
        ignored = unknown & (self.prior > self.eta)
        if self.likeliest:
            top = _likeliest(fixed, unknown, self.likeliest * len(logits))
            ignored = ignored | (top & (self.prior >= 0))
        pos, neg, other = self.gammas.values()
        away = torch.where(positives, -fixed, fixed).sigmoid()
        weight = away ** torch.where(positives, pos, torch.where(unknown, other, neg))
        return ~ignored * weight * cross_entropy(logits, positives)

    def end_epoch(self, logits: Tensor, step: Step) -> None:
        """Estimates the priors at the end of the first phase."""
        if self.estimates and step.epoch == self.warmup:
            self.prior = logits.sigmoid().mean(dim=0).to(self.prior.dtype)


def _likeliest(logits: Tensor, unknown: Tensor, number: int) -> Tensor:
    """Marks the unknown entries with the highest logits; of equal ones, the first."""
    # 1 - p falls as the logit rises, and unlike it is not rounded to 0.
    ranked = torch.where(unknown, logits, -torch.inf).flatten()
    number = min(number, len(ranked))
    lowest = ranked.topk(number, sorted=False).values.amin()  # faster than a stable sort
    above, equal = ranked > lowest, ranked == lowest
    marked = above | (equal & (equal.cumsum(0) <= number - above.sum()))
    return marked.view_as(unknown) & unknown
