"""Calibration: do predicted probabilities of labels agree with how often the labels are there?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.labels import BoolArray
from labelattack.measures import register
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MeasuredValues, Metric

if TYPE_CHECKING:
    from labelattack.measures.run import TrainedRun


@register("calibration")
class Calibration(Measure):
    """Expected calibration error of predicted label probabilities, pooled and per class.

    The entries of the label matrix are binary predictions; each falls into one of equally wide bins
    of its predicted probability. The error is the mean over entries of the distance between a bin's
    mean probability and its share of positives (Naeini et al. 2015, AAAI; for binary predictions as
    in Guo et al. 2017, arXiv:1706.04599).

    Args:
        bins: Bins of the probability.
    """

    references: ClassVar[str] = "naeini2015 guo2017"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("ece", "ECE", higher_is_better=False),
        Metric("ece_class", "ECE by class", higher_is_better=False),
    )

    bins: Annotated[int, Field(ge=2, le=1000)] = 15

    def measure(self, run: TrainedRun) -> MeasuredValues:
        """Pooled over all entries that count, and the mean over classes."""
        from scipy.special import expit

        test = run.splits.test
        scored = np.ones_like(test.labels) if test.counted is None else test.counted
        probabilities = expit(run.scores.astype(np.float64))
        columns = zip(probabilities.T, test.labels.T, scored.T, strict=True)
        errors = [calibration_error(p[of], labels[of], self.bins) for p, labels, of in columns]
        by_class = dict(zip(run.splits.classes, errors, strict=True))
        defined = [error for error in errors if error is not None]
        return self.values(
            len(test.labels),
            ece=calibration_error(probabilities[scored], test.labels[scored], self.bins),
            ece_class=float(np.mean(defined)) if defined else None,
            details={"by_class": by_class},
        )


def calibration_error(
    probabilities: NDArray[np.floating[Any]], labels: BoolArray, bins: int
) -> float | None:
    """Expected calibration error of binary predictions, in [0, 1]; None if there are none.

    Args:
        probabilities: Predicted probability of each, float ``[entries]`` in [0, 1].
        labels: Whether the label is there, bool ``[entries]``.
        bins: Equally wide bins; a probability at an edge falls into the upper one.
    """
    if not len(labels):
        return None
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    predicted = np.bincount(place, weights=probabilities, minlength=bins)
    positive = np.bincount(place, weights=labels, minlength=bins)
    return float(np.abs(predicted - positive).sum() / len(labels))
