"""Scores on the known test labels, which every run has: mAP and its variants, AP of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelattack.metrics.average_precision import (
    FloatArray,
    average_precision,
    defined_mean,
    map_interval,
    mean_average_precision,
)

if TYPE_CHECKING:
    from labelattack.datasets.base import Split


class CleanScores(BaseModel):
    """Scores on the known test labels at the selected epoch; in [0, 1], None where undefined.

    Attributes:
        map: Mean average precision over classes.
        map_micro: All entries as one ranking.
        map_voc_11_point: The interpolated measure of VOC 2007.
        per_class: Average precision of each class.
        undefined_classes: Number of classes that have none.
        saturated_classes: Of older records, classes positive on every image that counts, which then
            had an AP of 1; now they have none.
        map_interval: 95 % bootstrap interval of ``map`` over images.
        resamples: How many resamples that interval is of; 0 for none.
        mean_prediction: Mean predicted probability of a label.
        prevalence: Share of the test labels that are positive.
        counted_share: Share of the test entries that are known and count; None for all.
        assumed_share: Share of the test entries that are unknown and count as negatives, as none is
            known; None for none.
        constant_classes: Classes that get the same score on every image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    map: float
    map_micro: float
    map_voc_11_point: float
    per_class: dict[str, float | None]
    undefined_classes: int
    map_interval: tuple[float, float] | None = None
    resamples: int = 0
    mean_prediction: float | None = None
    prevalence: float | None = None
    constant_classes: int | None = None
    saturated_classes: tuple[str, ...] = ()
    counted_share: float | None = Field(default=None, exclude_if=lambda share: share is None)
    assumed_share: float | None = Field(default=None, exclude_if=lambda share: share is None)

    @property
    def undefined(self) -> list[str]:
        """Names of the classes that have no AP."""
        return [name for name, value in self.per_class.items() if value is None]


def score(
    scores: FloatArray, test: Split, classes: Sequence[str], resamples: int = 0
) -> CleanScores:
    """Scores a model on the known test labels.

    Args:
        scores: Logits of the test images, float ``[images, labels]``.
        test: The test split.
        classes: Names of the labels.
        resamples: Bootstrap resamples of the images for the interval of mAP; 0 for none.
    """
    from scipy.special import expit  # takes a while to import, and reading records needs it not

    counted, (positives, negatives) = test.counted, test.class_counts
    per_class = average_precision(scores, test.labels, scored=counted)
    defined = [None if np.isnan(value) else float(value) for value in per_class]
    micro, eleven = (
        mean_average_precision(scores, test.labels, scored=counted, variant=variant)
        for variant in ("micro", "voc-11-point")
    )
    return CleanScores(
        map=defined_mean(per_class),
        map_micro=micro,
        map_voc_11_point=eleven,
        per_class=dict(zip(classes, defined, strict=True)),
        undefined_classes=defined.count(None),
        map_interval=map_interval(scores, test.labels, scored=counted, resamples=resamples),
        resamples=resamples,
        mean_prediction=float(
            expit(scores if counted is None else scores[counted]).mean(dtype=np.float64)
        ),
        prevalence=float(positives.sum() / max((positives + negatives).sum(), 1)),
        counted_share=None if counted is None else float(counted.mean()),
        assumed_share=1 - test.known_share if test.positive_only else None,
        constant_classes=int((np.ptp(scores, axis=0) == 0).sum()),
    )
