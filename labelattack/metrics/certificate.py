"""Certificate: mAP that a median of scores keeps whatever some of the scores change to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels import BoolArray
from labelattack.metrics.average_precision import FloatArray, defined_mean


def worst_medians(scores: FloatArray, labels: BoolArray) -> NDArray[np.float32]:
    """Medians of members' scores at their worst, if some members may give any scores.

    The lower median of k scores is the one at place m = (k - 1) // 2 of their order. If r of them
    change, at most r leave the places below, or come there: the median stays between the scores
    that were at places m - r and m + r. The worst is the former for a positive label, the latter
    for a negative one; beyond the ends of the order it is minus or plus infinity.

    Args:
        scores: float ``[images, members, labels]``, at least one member.
        labels: Test labels, bool ``[images, labels]``.

    Returns:
        float32 ``[changed, images, labels]`` for 0, 1, ... changed members; the last is the first
        number at which every positive may be as low as can be.
    """
    images, members, classes = scores.shape
    if labels.shape != (images, classes):
        raise LabelError(
            f"labels must have shape {(images, classes)} as the scores, got {labels.shape}"
        )
    ordered = np.sort(np.asarray(scores, dtype=np.float32), axis=1)
    middle = (members - 1) // 2
    worst = np.empty((middle + 2, images, classes), dtype=np.float32)
    for changed in range(middle + 1):
        lowest, highest = ordered[:, middle - changed], ordered[:, middle + changed]
        worst[changed] = np.where(labels, lowest, highest)
    worst[-1] = np.where(labels, -np.inf, np.inf)
    return worst


def pessimistic_average_precision(
    scores: FloatArray, labels: BoolArray, *, scored: BoolArray | None = None
) -> NDArray[np.float64]:
    """Average precision of each class if ties are broken against the positives.

    Of the positives of a class, the m-th highest has precision m / (m + n), where n is the number
    of negatives that score at least as high. So a change that lowers positives or raises negatives
    never raises it, which does not hold where tied images count together: there lowering one of two
    tied positives below a negative may give the other a higher precision.

    Args:
        scores: float ``[images, labels]``; infinities are allowed.
        labels: bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``. Default: all.

    Returns:
        float64 ``[labels]`` in [0, 1]; NaN for a class without a scored positive or negative.
        Never above
        [average_precision][labelattack.metrics.average_precision.average_precision].
    """
    result = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        score, label = scores[:, column], labels[:, column]
        if scored is not None:
            score, label = score[scored[:, column]], label[scored[:, column]]
        positives, negatives = np.sort(score[label])[::-1], np.sort(score[~label])
        if len(positives) and len(negatives):
            above = len(negatives) - np.searchsorted(negatives, positives)
            place = np.arange(1, len(positives) + 1)
            result[column] = (place / (place + above)).mean()
    return result


def certified_map(
    scores: FloatArray, labels: BoolArray, *, scored: BoolArray | None = None
) -> NDArray[np.float64]:
    """Lower bound of the mAP of a median of members, if some members may give any scores.

    Args:
        scores: float ``[images, members, labels]``.
        labels: Test labels, bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``. Default: all.

    Returns:
        float64 ``[changed]`` in [0, 1] for 0, 1, ... changed members, never rising; the last is
        what any scores keep, and holds for all larger numbers, too. NaN if mAP is defined for no
        class.
    """
    return np.array([
        defined_mean(pessimistic_average_precision(each, labels, scored=scored))
        for each in worst_medians(scores, labels)
    ])  # fmt: skip
