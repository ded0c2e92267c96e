"""Median ensembles: networks whose standardised scores are put together by their median."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LIMIT = 1e4
"""Largest absolute value of a standard score."""


class MedianEnsemble(nn.Module):
    """Networks of one task; the score of a label is the median of their standard scores.

    A median of k values moves by at most r places in their order if r of them change, whatever they
    change to. That bounds what r members can do (see
    [certified_map][labelattack.metrics.certificate.certified_map]), and is how Hammoudeh and Lowd
    (SaTML 2023) certify regression.

    Members are made comparable first, each by itself, so that no member's scores depend on another:

    1. Logits of an image are divided by their root mean square over the labels, as some images
       make all logits of a small network large. A single label is left as it is.
    2. The scores of a label become standard scores: less their mean, divided by their standard
       deviation, over images whose labels are not looked at.
    3. A member that abstains from a label has -1e4 for it if its number is even, 1e4 if it is odd,
       so that those who abstain move the median little. So has a member whose score is not finite.

    The median of a label is at last brought back to where logits usually are: times the median over
    the members of the deviation of their logits, plus that of their mean. That changes no order of
    images within a label.

    Args:
        members: Networks that map the same inputs to logits ``[batch, labels]``.
        labels: Number of labels.

    Attributes:
        members: The networks.
        mean: Mean of a member's scores over images, float ``[members, labels]``.
        deviation: Their standard deviation, likewise, above 0.
        logit_mean: Mean of a member's logits over images, likewise.
        logit_deviation: Their standard deviation, likewise, above 0.
        abstains: Whether a member abstains from a label, bool ``[members, labels]``.
    """

    mean: Tensor
    deviation: Tensor
    logit_mean: Tensor
    logit_deviation: Tensor
    abstains: Tensor

    def __init__(self, members: Sequence[nn.Module], labels: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        shape = len(members), labels
        for name in ("mean", "logit_mean"):
            self.register_buffer(name, torch.zeros(shape))
        for name in ("deviation", "logit_deviation"):
            self.register_buffer(name, torch.ones(shape))
        self.register_buffer("abstains", torch.zeros(shape, dtype=torch.bool))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[batch, labels]``, float32; of two middle scores the lower is the median."""
        median = self.scores(inputs).median(dim=1).values
        deviation, mean = (t.median(dim=0).values for t in (self.logit_deviation, self.logit_mean))
        return mean + deviation * median

    def scores(self, inputs: Tensor) -> Tensor:
        """Scores of the members, float32 ``[batch, members, labels]``, in [-1e4, 1e4]."""
        logits = torch.stack([member(inputs) for member in self.members], dim=1)
        scores = (relative(logits) - self.mean) / self.deviation
        sign = torch.ones(len(self.members), 1, device=scores.device)
        sign[::2] = -1
        usable = scores.isfinite() & ~self.abstains
        return torch.where(usable, scores.clamp(-LIMIT, LIMIT), LIMIT * sign)

    @torch.no_grad()
    def standardise(self, member: int, logits: Tensor) -> None:
        """Sets the means and deviations of a member.

        Args:
            member: Its number.
            logits: Its logits on some images, float ``[images, labels]``.
        """
        logits = logits.double()
        self.mean[member], self.deviation[member] = _standard(relative(logits))
        self.logit_mean[member], self.logit_deviation[member] = _standard(logits)


class MemberScores(nn.Module):
    """Scores of the members of an ensemble, ``[batch, members * labels]``, as one network."""

    def __init__(self, ensemble: MedianEnsemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, inputs: Tensor) -> Tensor:
        """The members' scores, those of one member beside each other."""
        return self.ensemble.scores(inputs).flatten(1)


def _standard(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over images, and standard deviation, 1 where it is 0 or not finite."""
    deviation = values.std(dim=0, correction=0)
    usable = (deviation > 0) & deviation.isfinite()
    return values.mean(dim=0).nan_to_num(), torch.where(usable, deviation, 1)


def relative(logits: Tensor) -> Tensor:
    """Logits divided by their root mean square over the labels, if there are several.

    Args:
        logits: Float ``[..., labels]``.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if logits.shape[-1] < 2:
        return logits
    size = logits.square().mean(dim=-1, keepdim=True).sqrt()
    return logits / torch.where(size > 0, size, 1)
