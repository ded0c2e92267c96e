"""Generalised pseudo-label robust loss."""

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
    count_penalty,
    expected_count,
    negative_term,
)
from labelattack.defenses.gr import GeneralisedRobustLoss, robust_term
from labelattack.defenses.side import TablePath, scores_for

_PRESETS = {
    "voc": {"threshold": 0.5, "lambda_1": 0.7, "lambda_2": 0.4, "regulariser": 0.05},
    "coco": {"threshold": 0.5, "lambda_1": 0.7, "lambda_2": 0.5, "regulariser": 0.001},
    "nus-wide": {"threshold": 0.6, "lambda_1": 0.7, "lambda_2": 0.5, "regulariser": 0.001},
    "cub": {"threshold": 0.005, "lambda_1": 0.8, "lambda_2": 0.2, "regulariser": 0.01},
}
Share = Annotated[float, Field(ge=0, le=1)]


@register("gpr")
class GeneralisedPseudoLabelRobust(PartialLabelLoss):
    """Robust loss on unknown labels, with pseudo-positives from scores.

    P: -log p. U with a score of at least the threshold:
    (1 - clip(v, 1 - lambda_1, 1 - lambda_2)) [-rho log p - (1 - rho) log(1 - p)]. Other U:
    v [k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3]. v and k are those of GR, without
    gradient: k = sigmoid(w p + b), v = exp(-(p - mu)^2 / 2 sigma^2), with its schedules.
    Mean over batch and labels, plus r ((batch mean of the number of predicted
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
    references: ClassVar[str] = "tran2025"
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
        chosen = chosen_settings(
            _PRESETS,
            preset,
            threshold=threshold,
            lambda_1=lambda_1,
            lambda_2=lambda_2,
            regulariser=regulariser,
        )
        self.threshold, self.regulariser = chosen["threshold"], chosen["regulariser"]
        self.bounds = 1 - chosen["lambda_1"], 1 - chosen["lambda_2"]
        self.robust = GeneralisedRobustLoss(preset=preset)
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
        p, negative, pseudo = logits.sigmoid(), negative_term(logits), self.pseudo[step.index]
        k, v = self.robust.weights(p.detach(), step)
        robust = robust_term(logits, p, negative, k, self.robust.q2, self.robust.q3)
        weight = torch.where(pseudo, 1 - v.clamp(*self.bounds), 1.0)
        entropy = weight * (negative - (step.positives + self.rho * pseudo) * logits)
        terms = torch.where(step.hidden & ~pseudo, v * robust, entropy)
        return terms.mean() + self.regulariser * count_penalty(p, self.count)
