"""Generalised pseudo-label robust loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from labelattack.defenses import register
from labelattack.defenses.base import (
    PartialLabelLoss,
    Step,
    Task,
    chosen_settings,
    count_penalty,
    expected_count,
)
from labelattack.defenses.side import TablePath, scores_for

_OURS = ("threshold", "lambda_1", "lambda_2", "regulariser")
_ROBUST = ("slope", "offset", "q_positive", "q_negative")
_PRESETS: dict[str, dict[str, float]] = {
    name: dict(zip((*_OURS, *_ROBUST), values, strict=True))
    for name, values in {
        "voc": (0.5, 0.7, 0.4, 0.05, 2.0, -2.0, 0.01, 1.0),
        "coco": (0.5, 0.7, 0.5, 0.001, 10.0, -8.0, 0.01, 1.0),
        "nus-wide": (0.6, 0.7, 0.5, 0.001, 10.0, -8.0, 0.01, 1.0),
        "cub": (0.005, 0.8, 0.2, 0.01, 10.0, -8.0, 0.01, 1.5),
    }.items()
}
Share = Annotated[float, Field(ge=0, le=1)]


def robust_weights(
    p: Tensor, epoch: int, epochs: int, *, slope: float, offset: float
) -> tuple[Tensor, Tensor]:
    """Chance k that an unknown entry is positive, and its weight v, of GR at an epoch.

    k = sigmoid(w p + b), with w from 0 to ``slope`` and b from -2 to ``offset`` as (t - 1) / E;
    v = exp(-(p - mu)^2 / 2 sigma^2), with mu from 0.5 to 0.8 and sigma from 2 to 0.5 as t / E.

    Args:
        p: Predictions, without gradient.
        epoch: t, from 1.
        epochs: E.
        slope: End of w.
        offset: End of b.
    """
    before, after = (epoch - 1) / epochs, epoch / epochs
    k = (slope * before * p + (-2 + (offset + 2) * before)).sigmoid()
    mu, sigma = 0.5 + 0.3 * after, 2 - 1.5 * after
    return k, (-((p - mu) ** 2) / (2 * sigma**2)).exp()


def robust_term(
    positive: Tensor, negative: Tensor, k: Tensor, *, q_positive: float, q_negative: float
) -> Tensor:
    """Computes k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3, per cell, of GR.

    Args:
        positive: -log p.
        negative: -log(1 - p).
        k: Weight of the first part, without gradient.
        q_positive: q2.
        q_negative: q3.
    """
    as_positive = (1 - (-q_positive * positive).exp()) / q_positive
    as_negative = (1 - (-q_negative * negative).exp()) / q_negative
    return torch.lerp(as_negative, as_positive, k)


@register("gpr")
class GeneralisedPseudoLabelRobust(PartialLabelLoss):
    """Robust loss on unknown labels, with pseudo-positives from scores.

    P: -log p. U with a score of at least the threshold:
    (1 - clip(v, 1 - lambda_1, 1 - lambda_2)) [-rho log p - (1 - rho) log(1 - p)]. Other U:
    v [k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3]. v and k are those of GR, without
    gradient: k = sigmoid(w p + b), v = exp(-(p - mu)^2 / 2 sigma^2), schedules in
    ``robust_weights``. Mean over batch and labels, plus r ((batch mean of the number of predicted
    positives - expected) / labels)^2.

    The pseudo-negative branch of the released code is left out: no label reaches it there. The
    source's scores are CLIP's on an image and its grid of crops, kept for its best-scored classes
    only. The term for N, -log(1 - p), is our extension: the source has none. Privileged: the
    expected number of positives. State: 1 byte per image and label.

    Args:
        scores: File with a score in [0, 1] for each image and label (csv, parquet, npz); none
            means those of the dataset.
        preset: The authors' settings for a dataset, those of GR (w, b, q) included.
        threshold: Score from which an entry is a pseudo-positive; none means the preset's.
        lambda_1: Largest weight of a pseudo-positive; none means the preset's.
        lambda_2: Smallest; none means the preset's.
        rho: Soft label of a pseudo-positive.
        regulariser: r; none means the preset's.
        expected_positives: Positives per image; none means what the dataset declares.
    """

    source: ClassVar[str] = "AEVLP, ICCV 2025 (arXiv 2508.20381); settings from its code"
    privileged: ClassVar[bool] = True
    side_tables: ClassVar[tuple[str, ...]] = ("scores",)
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = True
    pseudo: Tensor
    count: float

    def __init__(
        self,
        *,
        scores: TablePath | None = None,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        threshold: Share | None = None,
        lambda_1: Share | None = None,
        lambda_2: Share | None = None,
        rho: Share = 0.9,
        regulariser: Annotated[float, Field(ge=0)] | None = None,
        expected_positives: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        given = threshold, lambda_1, lambda_2, regulariser
        chosen = chosen_settings(_PRESETS, preset, **dict(zip(_OURS, given, strict=True)))
        self.threshold, self.regulariser = chosen["threshold"], chosen["regulariser"]
        self.bounds = 1 - chosen["lambda_1"], 1 - chosen["lambda_2"]
        self.slope, self.offset, self.q_positive, self.q_negative = (
            _PRESETS[preset][name] for name in _ROBUST
        )
        self.scores = scores
        self.rho = rho
        self.expected_positives = expected_positives

    def bind(self, task: Task) -> None:
        """Marks the pseudo-positives, bool ``[images, labels]``, and takes the expected count."""
        self.count = expected_count("gpr", self.expected_positives, task)
        pseudo = scores_for("gpr", self.scores, task) >= self.threshold
        self.register_buffer("pseudo", torch.from_numpy(pseudo & task.labels.hidden))

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Mean over batch and labels, plus the penalty on the count."""
        p, negative, pseudo = logits.sigmoid(), softplus(logits), self.pseudo[step.index]
        k, v = robust_weights(
            p.detach(), step.epoch, step.epochs, slope=self.slope, offset=self.offset
        )
        robust = robust_term(
            negative - logits,
            negative,
            k,
            q_positive=self.q_positive,
            q_negative=self.q_negative,
        )
        weight = torch.where(pseudo, 1 - v.clamp(*self.bounds), 1.0)
        entropy = weight * (negative - (step.positives + self.rho * pseudo) * logits)
        terms = torch.where(step.hidden & ~pseudo, v * robust, entropy)
        return terms.mean() + self.regulariser * count_penalty(p, self.count)
