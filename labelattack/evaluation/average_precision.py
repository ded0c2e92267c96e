"""Average precision of multi-label scores, exact and fast."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, TrainingDivergedError, unknown
from labelattack.labels import BoolArray, check_matrix
from labelattack.seeding import bounded, generator

FloatArray = NDArray[np.floating[Any]]
_BUCKETS = 16384
Variant = Literal["macro", "micro", "voc-11-point"]


def average_precision(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    interpolation: Literal["none", "11-point"] = "none",
) -> NDArray[np.float64]:
    """Average precision of each class.

    Per class, precision at the score of every positive, averaged over the positives; images with
    equal scores enter together, as in scikit-learn's ``average_precision_score``, to which the
    result is equal wherever that is defined.

    Args:
        scores: Any monotone score, float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: bool ``[images, labels]``; cells that are False are left out, as official VOC
            scoring does with difficult objects. Default: all count.
        interpolation: ``11-point`` gives the VOC 2007 development kit's interpolated measure.

    Returns:
        float64 ``[labels]`` in [0, 1]; NaN for a class without a scored positive.

    Raises:
        LabelError: If shapes differ.
        TrainingDivergedError: If a score is not finite.
    """
    check_matrix("labels", labels)
    if scores.shape != labels.shape or (scored is not None and scored.shape != labels.shape):
        raise LabelError(
            f"scores and labels must have one shape, got {scores.shape} and {labels.shape}"
        )
    if not np.isfinite(scores).all():
        raise TrainingDivergedError("scores must be finite, got NaN or infinity")
    result = np.full(labels.shape[1], np.nan)
    for start in range(0, labels.shape[1], 16):
        # Classes as contiguous rows, a few at a time: strided columns cost several times more.
        block = slice(start, start + 16)
        by_class, truth = scores[:, block].T.copy(), labels[:, block].T.copy()
        for column, (score, label) in enumerate(zip(by_class, truth, strict=True), start):
            if scored is not None:
                score, label = score[scored[:, column]], label[scored[:, column]]
            if label.any():
                precision, recall = _at_positives(score, label)
                if interpolation == "none":
                    result[column] = precision.mean()
                else:
                    result[column] = _eleven_points(precision, recall)
    return result


def mean_average_precision(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    variant: Variant = "macro",
) -> float:
    """One number for all classes.

    Args:
        scores: float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: Cells that count, bool ``[images, labels]``.
        variant: ``macro``: mean over the classes where it is defined; ``micro``: all cells as one
            ranking; ``voc-11-point``: macro mean of the interpolated measure of VOC 2007.

    Returns:
        A number in [0, 1]; NaN if it is defined for no class.

    Raises:
        LabelError: If shapes differ.
        TrainingDivergedError: If a score is not finite.
        UnknownNameError: If the variant is unknown.
    """
    if variant not in ("macro", "micro", "voc-11-point"):
        raise unknown("mAP variant", variant, ("macro", "micro", "voc-11-point"))
    if variant == "micro":
        scores, labels = scores.reshape(-1, 1), labels.reshape(-1, 1)
        scored = None if scored is None else scored.reshape(-1, 1)
    interpolation: Literal["none", "11-point"] = "11-point" if variant == "voc-11-point" else "none"
    return defined_mean(
        average_precision(scores, labels, scored=scored, interpolation=interpolation)
    )


def defined_mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def map_interval(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    resamples: int,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % bootstrap interval of mAP over images: what one test set can tell of one model.

    Args:
        scores: float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: Cells that count, bool ``[images, labels]``.
        resamples: How often the images are drawn anew, with replacement.
        seed: Seed of the draws.

    Returns:
        The percentiles 2.5 and 97.5 of the resamples' mAP (Efron 1979); None without resamples,
        or if one of them has no class in which it is defined.
    """
    if not resamples:
        return None
    rng = generator(seed, "images")
    found = []
    for _ in range(resamples):
        rows = bounded(rng, len(scores), len(scores))
        part = None if scored is None else scored[rows]
        found.append(mean_average_precision(scores[rows], labels[rows], scored=part))
    low, high = np.quantile(found, [0.025, 0.975])
    return None if np.isnan(low + high) else (float(low), float(high))


def _at_positives(
    score: FloatArray, label: BoolArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at each positive, in ascending order of score."""
    positives = np.sort(score[label])
    hits = len(positives) - np.searchsorted(positives, positives, side="left")
    return hits / _at_least(score, positives), hits / len(positives)


def _at_least(values: FloatArray, thresholds: FloatArray) -> NDArray[np.int64]:
    """How many values reach each threshold; thresholds are ascending and among the values.

    Values are counted into buckets by an order-preserving map, and only those that share a bucket
    with a threshold are sorted. Exact for any distribution; one that falls into few buckets costs a
    full sort.
    """
    low, width = values.min(), float(values.max()) - float(values.min())
    # Small inputs gain nothing; extreme widths would overflow the map.
    if len(values) < 2 * _BUCKETS or not 1e-30 < width < 1e30:
        ordered = np.sort(values)
        return len(ordered) - np.searchsorted(ordered, thresholds, side="left")
    scale = values.dtype.type((_BUCKETS - 1) / width)
    bucket = ((values - low) * scale).astype(np.int32)
    wanted = ((thresholds - low) * scale).astype(np.int32)
    counts = np.bincount(bucket, minlength=_BUCKETS)
    shared = np.zeros(len(counts), dtype=np.bool_)
    shared[wanted] = True
    rest = np.sort(values[shared[bucket]])
    above = np.cumsum(np.where(shared, 0, counts)[::-1])[::-1]
    found: NDArray[np.int64] = above[wanted] + len(rest) - np.searchsorted(rest, thresholds)
    return found


def _eleven_points(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    levels = np.linspace(0, 1, 11)
    # Guard the comparison of k/10 with a ratio of counts against binary rounding.
    best = [precision[recall >= level - 1e-12].max(initial=0.0) for level in levels]
    return float(np.mean(best))
