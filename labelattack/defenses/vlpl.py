"""Vision-language pseudo-labels."""

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
)
from labelattack.defenses.em import PRESETS, with_entropy
from labelattack.defenses.side import TablePath, scores_for


@register("vlpl")
class VisionLanguagePseudoLabels(PartialLabelLoss):
    """Entropy maximisation, with pseudo-positives from another model's scores.

    P: -log p. U with a score above the threshold: beta [-q log p - (1 - q) log(1 - p)].
    Other U: -alpha H(p), H = -p log p - (1 - p) log(1 - p).

    Mean over batch and labels. State: 1 byte per image and label. The source's scores are those of
    CLIP: softmax over the classes of the similarity of image and class name, divided by 0.01.
    The term for N, -log(1 - p), is our extension: the source has none.

    Args:
        scores: File with a score in [0, 1] for each image and label (csv, parquet, npz); none
            means those of the dataset.
        preset: The authors' settings for a dataset, which are those of ``em``.
        alpha: Weight of the entropy; none means the preset's.
        threshold: Score above which an entry is a pseudo-positive.
        beta: Weight of a pseudo-positive.
        target: q, its soft label.
    """

    source: ClassVar[str] = "Xing et al. 2024, Vision-Language Pseudo-Labels; its code"
    references: ClassVar[str] = "xing2024"
    side_tables: ClassVar[tuple[str, ...]] = ("scores",)
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = True
    pseudo: Tensor

    def __init__(
        self,
        *,
        scores: TablePath | None = None,
        preset: Literal["voc", "coco", "nus-wide", "cub"] = "voc",
        alpha: Annotated[float, Field(ge=0)] | None = None,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.3,
        beta: Annotated[float, Field(ge=0)] = 0.7,
        target: Annotated[float, Field(ge=0, le=1)] = 0.9,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.alpha = chosen_settings(PRESETS, preset, alpha=alpha)["alpha"]
        self.threshold = threshold
        self.beta = beta
        self.target = target

    def bind(self, task: Task) -> None:
        """Marks the pseudo-positives, bool ``[images, labels]``."""
        pseudo = scores_for("vlpl", self.scores, task) > self.threshold
        self.register_buffer("pseudo", torch.from_numpy(pseudo & task.labels.hidden))

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        pseudo = self.pseudo[step.index]
        free = step.hidden & ~pseudo
        target = step.positives + self.target * pseudo
        weight = torch.where(pseudo, self.beta, 1.0)
        return with_entropy(logits, free, self.alpha, target, weight)
