"""F1 of predicted label sets: CF1, the mean over classes, and OF1, over all entries at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import ParameterError
from labelattack.labels import BoolArray
from labelattack.measures import register
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MeasuredValues, Metric

if TYPE_CHECKING:
    from labelattack.measures.run import TrainedRun


@register("f1")
class F1(Measure):
    """CF1 (macro) and OF1 (micro) of predicted label sets.

    A label is predicted where its logit is above a threshold. Under ``validation`` the thresholds
    maximise F1 on the validation labels that selection may see: one a class for CF1, one in all
    for OF1; a class without a positive there takes a probability of 0.5. Nothing is chosen on test
    data. Under an attack those labels are attacked too, and thresholds suffer as a user's would.

    Args:
        threshold: ``validation``, or ``half`` for a probability of 0.5 everywhere.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("cf1", "CF1", unit="points"),
        Metric("of1", "OF1", unit="points"),
    )

    threshold: Literal["validation", "half"] = "validation"

    def measure(self, run: TrainedRun) -> MeasuredValues:
        """F1 on the test entries that count."""
        test, classes = run.splits.test, len(run.splits.classes)
        each, pooled = np.zeros(classes), 0.0
        if self.threshold == "validation":
            known = run.validation_labels
            if known is None:
                raise ParameterError(
                    "threshold of measure 'f1' must be half where no validation labels are known; "
                    "evaluate takes them as val="
                )
            seen = np.ones_like(known.labels) if known.scored is None else known.scored
            scores = run.validation_scores
            each = np.array([
                best_threshold(scores[seen[:, c], c], known.labels[seen[:, c], c])
                for c in range(classes)
            ])  # fmt: skip
            pooled = best_threshold(scores[seen], known.labels[seen])
        counted = np.ones_like(test.labels) if test.counted is None else test.counted
        by_class = f1(run.scores > each, test.labels, counted, axis=0)
        defined = by_class[np.isfinite(by_class)]
        return self.values(
            len(test.labels),
            cf1=float(defined.mean()) if len(defined) else None,
            of1=float(f1(run.scores > pooled, test.labels, counted, axis=None)),
            details={
                "thresholds": [float(value) for value in each],
                "pooled_threshold": float(pooled),
                "by_class": {
                    name: float(value) if np.isfinite(value) else None
                    for name, value in zip(run.splits.classes, by_class, strict=True)
                },
            },
        )


def f1(
    predicted: BoolArray, labels: BoolArray, counted: BoolArray, *, axis: Literal[0] | None
) -> Any:
    """F1, 2 TP / (2 TP + FP + FN), in [0, 1]; NaN where no label is positive.

    Args:
        predicted: Predicted labels, bool ``[images, labels]``.
        labels: Clean labels, likewise.
        counted: Entries that count, likewise.
        axis: 0 for each class, None for all entries at once.
    """
    hits = (predicted & labels & counted).sum(axis=axis)
    either = (predicted & counted).sum(axis=axis) + (labels & counted).sum(axis=axis)
    there = (labels & counted).sum(axis=axis) > 0
    return np.where(there, 2 * hits / np.maximum(either, 1), np.nan)


def best_threshold(scores: NDArray[np.floating[Any]], labels: BoolArray) -> float:
    """Logit above which predictions have the largest F1; 0 if no label is positive.

    Args:
        scores: Logits, float ``[entries]``.
        labels: Whether each label is there, bool ``[entries]``.

    Returns:
        Midway between the last predicted logit and the next below; of equal ones the highest.
    """
    if not labels.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(labels[order])
    values = 2 * hits / (np.arange(1, len(order) + 1) + labels.sum())
    ends = np.append(ranked[1:] < ranked[:-1], True)  # a threshold divides no equal logits
    best = int(np.argmax(np.where(ends, values, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1
    return float((ranked[best] + below) / 2)
