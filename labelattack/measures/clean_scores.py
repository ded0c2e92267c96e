"""Scores on clean test labels, which every run has: mAP and its variants, AP of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

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
    """Scores on clean test labels at the selected epoch; in [0, 1], None where undefined.

    Attributes:
        map: Mean average precision over classes.
        map_micro: All entries as one ranking.
        map_voc_11_point: The interpolated measure of VOC 2007.
        per_class: Average precision of each class.
        undefined_classes: Number of classes that have none.
        saturated_classes: Classes positive on every image that counts: any model has an AP of 1.
        map_interval: 95 % bootstrap interval of ``map`` over images.
        resamples: How many resamples that interval is of; 0 for none.
        mean_prediction: Mean predicted probability of a label.
        prevalence: Share of the test labels that are positive.
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


def score(
    scores: FloatArray, test: Split, classes: Sequence[str], resamples: int = 0
) -> CleanScores:
    """Scores a model on clean test labels.

    Args:
        scores: Logits of the test images, float ``[images, labels]``.
        test: The test split.
        classes: Names of the labels.
        resamples: Bootstrap resamples of the images for the interval of mAP; 0 for none.
    """
    from scipy.special import expit  # takes a while to import, and reading records needs it not

    per_class = average_precision(scores, test.labels, scored=test.scored)
    defined = [None if np.isnan(value) else float(value) for value in per_class]
    micro, eleven = (
        mean_average_precision(scores, test.labels, scored=test.scored, variant=variant)
        for variant in ("micro", "voc-11-point")
    )
    return CleanScores(
        map=defined_mean(per_class),
        map_micro=micro,
        map_voc_11_point=eleven,
        per_class=dict(zip(classes, defined, strict=True)),
        undefined_classes=defined.count(None),
        map_interval=map_interval(scores, test.labels, scored=test.scored, resamples=resamples),
        resamples=resamples,
        mean_prediction=float(expit(scores).mean(dtype=np.float64)),
        prevalence=float(test.labels.mean()),
        constant_classes=int((np.ptp(scores, axis=0) == 0).sum()),
        saturated_classes=tuple(np.array(classes, dtype=object)[test.saturated]),
    )
