"""Losses that weigh an entry by how wrong its prediction is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, chosen_settings, positive_term

PRESETS = {
    "coco": {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.05},
    "library": {"gamma_pos": 1.0, "gamma_neg": 4.0, "clip": 0.05},
}


def focal_term(against: Tensor, gamma: float | Tensor, *, detach: bool = False) -> Tensor:
    """(1 - q)^gamma times -log q, per entry, where q = sigmoid(-against).

    Args:
        against: Logits towards the wrong side: -z of a positive, z of a negative.
        gamma: Exponent, for all entries or for each.
        detach: Whether the weight (1 - q)^gamma has no gradient.
    """
    terms = softplus(against)
    # log(1 - q): a power of 1 - q itself has no finite gradient where it rounds to 0.
    doubt = against - terms
    return terms * torch.exp(gamma * (doubt.detach() if detach else doubt))


@register("asl")
class AsymmetricLoss(PartialLabelLoss):
    """Cross-entropy with focal weights of its own for each side.

    P: (1 - p)^gamma_pos (-log p). N and U, which the source does not tell apart:
    q^gamma_neg (-log(1 - q)), with q = max(p - clip, 0). The source's 1e-8 inside the logarithm is
    not needed here. Native reduction: sum. State: none.

    Args:
        preset: ``coco`` is the authors' training script (0, 4, .05), ``library`` has the defaults
            of the class they released (1, 4, .05).
        gamma_pos: Exponent on positives; none means the preset's.
        gamma_neg: Exponent on all others; none means the preset's.
        clip: Probability below which these cost nothing; none means the preset's.
        detach: Whether weights have no gradient, as in the released class ``AsymmetricLoss``; in
            ``AsymmetricLossOptimized`` they have one.
    """

    source: ClassVar[str] = "Ridnik et al. 2021"
    references: ClassVar[str] = "ridnik2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    reduction: ClassVar[Literal["mean", "sum"]] = "sum"

    def __init__(
        self,
        *,
        preset: Literal["coco", "library"] = "coco",
        gamma_pos: Annotated[float, Field(ge=0)] | None = None,
        gamma_neg: Annotated[float, Field(ge=0)] | None = None,
        clip: Annotated[float, Field(ge=0, lt=1)] | None = None,
        detach: bool = True,
    ) -> None:
        super().__init__()
        chosen = chosen_settings(
            PRESETS, preset, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip
        )
        self.gamma_pos, self.gamma_neg = chosen["gamma_pos"], chosen["gamma_neg"]
        self.clip = chosen["clip"]
        self.detach = detach

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        if not self.clip:
            against = torch.where(step.positives, -logits, logits)
            gamma = torch.where(step.positives, self.gamma_pos, self.gamma_neg)
            return focal_term(against, gamma, detach=self.detach)
        positive = (
            focal_term(-logits, self.gamma_pos, detach=self.detach)
            if self.gamma_pos
            else positive_term(logits)
        )
        # Not 0, where powers below 1 have no finite gradient.
        clipped = (logits.sigmoid() - self.clip).clamp_min(torch.finfo(logits.dtype).tiny)
        weight = (clipped.detach() if self.detach else clipped) ** self.gamma_neg
        return torch.where(step.positives, positive, -weight * torch.log1p(-clipped))


@register("focal")
class FocalLoss(PartialLabelLoss):
    """Cross-entropy with hidden labels as negatives, focal weights on both.

    P: (1 - p)^gamma (-log p). N and U, which the source does not tell apart:
    p^gamma (-log(1 - p)). That is asymmetric loss with equal exponents and no clip. Native
    reduction: sum. State: none.

    Args:
        gamma: Exponent of the weights.
        detach: Whether weights have no gradient. So it is in the released code for missing labels
            (robust-loss-mlml); in the focal loss of Lin et al. 2017 they have one.
    """

    source: ClassVar[str] = "Lin et al. 2017; Zhang et al. 2021 (robust-loss-mlml)"
    references: ClassVar[str] = "lin2017 zhang2021"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False
    reduction: ClassVar[Literal["mean", "sum"]] = "sum"

    def __init__(self, *, gamma: Annotated[float, Field(ge=0)] = 2.0, detach: bool = True) -> None:
        super().__init__()
        self.gamma = gamma
        self.detach = detach

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        against = torch.where(step.positives, -logits, logits)
        return focal_term(against, self.gamma, detach=self.detach)
