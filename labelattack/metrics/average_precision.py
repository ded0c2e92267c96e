"""Average precision and mAP of multi-label scores, exact and fast."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, TrainingDivergedError, unknown
from labelattack.labels import BoolArray, check_matrix
from labelattack.seeding import bounded, generator

FloatArray = NDArray[np.floating[Any]]
_BUCKETS = 1 << 15
_CELLS = 1 << 17  # of runs ranked together; larger ones gain nothing
_Scalar = TypeVar("_Scalar", bound=np.generic)
Variant = Literal["macro", "micro", "voc-11-point"]


def average_precision(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    interpolation: Literal["none", "11-point"] = "none",
) -> NDArray[np.float64]:
    """Average precision of each class.

    Precision at the score of each positive, averaged over the positives of a class. Images with
    tied scores count together, as in scikit-learn's ``average_precision_score``; the result equals
    scikit-learn's wherever there are positives and negatives to rank.

    Args:
        scores: Scores, logits or probabilities, float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: bool ``[images, labels]``; entries that are False are left out, as official VOC
            scoring does with difficult objects. Default: all count.
        interpolation: ``11-point`` gives the VOC 2007 development kit's interpolated measure.

    Returns:
        float64 ``[labels]`` in [0, 1]; NaN for a class without a scored positive, and for one
        without a scored negative, where any model would have 1.

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
    # Half precision has too few bits to number the buckets.
    scores = scores.astype(np.result_type(scores, np.float32), copy=False)
    result = np.full(labels.shape[1], np.nan)
    for start in range(0, labels.shape[1], 16):
        # Classes as contiguous rows, a few at a time: strided columns cost several times more.
        block = slice(start, start + 16)
        by_class, truth = _transposed(scores[:, block]), _transposed(labels[:, block])
        for column, (score, label) in enumerate(zip(by_class, truth, strict=True), start):
            if scored is not None:
                score, label = score[scored[:, column]], label[scored[:, column]]
            if label.any() and not label.all():
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
    """Mean average precision (mAP) of multi-label scores.

    Args:
        scores: float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``.
        variant: ``macro``: mean over the classes where it is defined; ``micro``: all entries as
            one ranking; ``voc-11-point``: macro mean of the interpolated AP of VOC 2007.

    Returns:
        mAP in [0, 1]; NaN if it is defined for no class.

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


def chance_map(labels: BoolArray, *, scored: BoolArray | None = None) -> float:
    """Chance level of mAP, reached by constant scores: the mean share of positives.

    Args:
        labels: bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``.

    Returns:
        mAP in [0, 1]; NaN if no class has a positive.
    """
    return mean_average_precision(np.zeros(labels.shape), labels, scored=scored)


def mean_average_precisions(
    scores: FloatArray, labels: BoolArray, *, scored: BoolArray | None = None
) -> NDArray[np.float64]:
    """Macro mAP of each of many runs; small float32 runs are sorted in one pass.

    Args:
        scores: float ``[runs, images, labels]``.
        labels: bool ``[images, labels]``, the same for all runs, or ``[runs, images, labels]``.
        scored: Entries that count, bool in either shape. Default: all count.

    Returns:
        float64 ``[runs]`` in [0, 1]; NaN for a run with a score that is not finite (other runs are
        not affected), and for a run without a class for which it is defined.

    Raises:
        LabelError: If shapes differ, or if ``labels`` or ``scored`` is not bool.
    """
    for name, mask in (("labels", labels), ("scored", scored)):
        if mask is not None and (
            scores.ndim != 3
            or mask.dtype != np.bool_
            or mask.shape not in (scores.shape, scores.shape[1:])
        ):
            raise LabelError(
                f"scores must be [runs, images, labels] and {name} bool, of that shape or [images, "
                f"labels], got {scores.shape} and {mask.dtype} {mask.shape}"
            )
    labels = np.broadcast_to(labels, scores.shape)
    scored = None if scored is None else np.broadcast_to(scored, scores.shape)
    finite: BoolArray = np.asarray(np.isfinite(scores).all(axis=(1, 2)))
    result = np.full(len(scores), np.nan)
    at_once = _CELLS // max(1, labels[:1].size) if scores.dtype == np.float32 else 0
    for start in range(0, len(scores), max(1, at_once)):
        some = slice(start, start + max(1, at_once))
        kept = None if scored is None else scored[some]
        if at_once:
            result[some] = _ranked_together(scores[some], labels[some], kept)
        elif finite[start]:
            kept = None if kept is None else kept[0]
            result[start] = mean_average_precision(scores[start], labels[start], scored=kept)
    return np.where(finite, result, np.nan)


def defined_mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
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
    """95 % bootstrap interval of mAP over test images, for one model.

    Args:
        scores: float ``[images, labels]``.
        labels: bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``.
        resamples: Number of bootstrap samples of the images, drawn with replacement.
        seed: Seed of the draws.

    Returns:
        The percentiles 2.5 and 97.5 of the resamples' mAP (Efron 1979); None without resamples,
        or if one of them has no class for which mAP is defined.
    """
    if not resamples:
        return None
    rng = generator(seed, "images")
    resampled = []
    for _ in range(resamples):
        rows = bounded(rng, len(scores), len(scores))
        part = None if scored is None else scored[rows]
        resampled.append(mean_average_precision(scores[rows], labels[rows], scored=part))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return None if np.isnan(low + high) else (float(low), float(high))


def _ranked_together(
    scores: FloatArray, labels: BoolArray, scored: BoolArray | None
) -> NDArray[np.float64]:
    """Macro mAP of runs with float32 scores; undefined results where a score is not finite.

    Each class of each run is a row; all rows are sorted as one array of keys (row, score).
    """
    runs, images, classes = scores.shape
    shape = (runs * classes, images)
    # Integers in the order of the scores; adding 0 removes negative zeros.
    bits = np.add(scores.swapaxes(1, 2), np.float32(0), order="C").view(np.int32).reshape(shape)
    bits ^= bits >> 31 & 0x7FFFFFFF
    if scored is not None:
        labels = labels & scored
        bits[~scored.swapaxes(1, 2).reshape(shape)] = np.iinfo(np.int32).min  # below all scores
    entries = np.flatnonzero(labels.swapaxes(1, 2))
    row = entries // max(1, images)
    positives = np.sort((row << 32) + bits.reshape(-1)[entries])
    keys = (np.arange(len(bits), dtype=np.int64) << 32)[:, None] + np.sort(bits, axis=1)
    reached = (row + 1) * images - np.searchsorted(keys.reshape(-1), positives)
    counts = np.bincount(row, minlength=len(bits))
    of_each = images if scored is None else np.count_nonzero(scored, axis=1).reshape(-1)
    ranked = (counts > 0) & (counts < of_each)  # without a negative there is nothing to rank
    hits = np.cumsum(counts)[row] - _first_equal(positives)
    sums = np.bincount(row, hits / reached, minlength=len(bits))
    each = np.where(ranked, sums / np.maximum(counts, 1), 0)
    total = each.reshape(runs, classes).sum(axis=1)
    defined = np.count_nonzero(ranked.reshape(runs, classes), axis=1)
    return np.asarray(np.where(defined, total / np.maximum(defined, 1), np.nan))


def _transposed(columns: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Contiguous transpose, in blocks that fit the cache."""
    rows = np.empty(columns.shape[::-1], dtype=columns.dtype)
    for start in range(0, len(columns), 512):
        rows[:, start : start + 512] = columns[start : start + 512].T
    return rows


def _at_positives(
    score: FloatArray, label: BoolArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at each positive, in ascending order of score."""
    positives = np.sort(score[np.flatnonzero(label)])
    hits = len(positives) - _first_equal(positives)
    return hits / _reached(positives, hits, score, label), hits / len(positives)


def _first_equal(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """Position of the first equal element, for each element of an ascending array."""
    first = np.arange(len(ordered))
    first[1:][ordered[1:] == ordered[:-1]] = 0
    return np.maximum.accumulate(first)


def _reached(
    positives: FloatArray, hits: NDArray[np.int64], score: FloatArray, label: BoolArray
) -> NDArray[np.int64]:
    """Number of images that score at least as high as each positive.

    Scores are counted into buckets by an order-preserving map, and only the negatives that share a
    bucket with a positive are sorted. Exact for any distribution; if few buckets are used, it costs
    a full sort.

    Args:
        positives: Scores of the positives, ascending.
        hits: Number of positives that score at least as high as each.
        score: All scores, float ``[images]``.
        label: Mask of the positives, bool ``[images]``.
    """
    # Small inputs gain nothing; extreme widths would overflow the map.
    width = float(score.max()) - float(score.min()) if len(score) >= _BUCKETS else 0.0
    if not 1e-30 < width < 1e30:
        return len(score) - np.searchsorted(np.sort(score), positives)
    low = score.min()
    scale = score.dtype.type((_BUCKETS - 1) / width)
    wanted = ((positives - low) * scale).astype(np.int32)
    # Via int32: conversion to wider integers is not vectorised, and other types index more slowly.
    bucket = ((score - low) * scale).astype(np.int32).astype(np.intp)
    shared = np.zeros(_BUCKETS, dtype=np.bool_)
    shared[wanted] = True
    others = np.bincount(bucket, minlength=_BUCKETS)
    others[wanted] = 0
    near = np.sort(score[np.flatnonzero(shared.take(bucket) & ~label)])
    below: NDArray[np.int64] = np.cumsum(others)[wanted] + np.searchsorted(near, positives)
    return hits + (len(score) - len(positives)) - below


def _eleven_points(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    levels = np.linspace(0, 1, 11)
    # The tolerance guards the comparison of k/10 with a ratio of counts against binary rounding.
    best = [precision[recall >= level - 1e-12].max(initial=0.0) for level in levels]
    return float(np.mean(best))
