"""Certificate: mAP that a median of scores keeps whatever some of the scores change to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels import BoolArray
from labelattack.metrics.average_precision import FloatArray, defined_mean


def certified_map(
    scores: FloatArray, labels: BoolArray, *, scored: BoolArray | None = None
) -> NDArray[np.float64]:
    """Lower bound of the macro mAP of a median of members, if some members may give any scores.

    Args:
        scores: float ``[images, members, labels]``, at least one member; the prediction is their
            lower median.
        labels: Test labels, bool ``[images, labels]``.
        scored: Entries that count, bool ``[images, labels]``. Default: all.

    Returns:
        float64 ``[changed]`` in [0, 1] for 0, 1, ... changed members, never rising; the last is
        what any scores keep, and holds for all larger numbers, too. NaN if mAP is defined for no
        class.

    Raises:
        LabelError: If shapes differ.
    """
    images, _, classes = scores.shape
    for name, matrix in (("labels", labels), ("scored", scored)):
        if matrix is not None and matrix.shape != (images, classes):
            raise LabelError(
                f"{name} must have shape {(images, classes)} as the scores, got {matrix.shape}"
            )
    counted = np.ones_like(labels) if scored is None else scored
    found = [
        certified_precision(scores[kept, :, column], labels[kept, column])
        for column, kept in enumerate(counted.T)
    ]
    return np.array([defined_mean(each) for each in np.array(found).T])


def certified_precision(scores: FloatArray, label: BoolArray) -> NDArray[np.float64]:
    """The same for one label: lower bound of its average precision.

    The lower median of k scores is the one at place m = (k - 1) // 2 of their order. If r of them
    change, at most r leave the places below, or come there: the median stays between the scores
    that were at places m - r and m + r. The worst is the former for a positive image, the latter
    for a negative one.

    Args:
        scores: float ``[images, members]``.
        label: Whether each image has the label, bool ``[images]``.

    Returns:
        float64 ``[changed]``; NaN without a positive or a negative.
    """
    ordered = np.sort(scores, axis=1)
    middle = (scores.shape[1] - 1) // 2
    positives, negatives = ordered[label], ordered[~label]
    if not len(positives) or not len(negatives):
        return np.full(middle + 2, np.nan)
    bounds = [
        pessimistic_precision(positives[:, middle - changed], negatives[:, middle + changed])
        for changed in range(middle + 1)
    ]
    anything = np.zeros(len(positives)), np.zeros(len(negatives))
    return np.array([*bounds, pessimistic_precision(*anything)])


def pessimistic_precision(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """Average precision if ties are broken against the positives, also those among them.

    The m-th highest positive has precision m / (m + n), where n is the number of negatives that
    score at least as high. So a change that lowers positives or raises negatives never raises it,
    which does not hold where tied images count together: there lowering one of two tied positives
    below a negative may give the other a higher precision. It is never above
    [average_precision][labelattack.metrics.average_precision.average_precision].

    Args:
        positives: Scores of positive images, float ``[positives]``, at least one.
        negatives: Scores of negative images, float ``[negatives]``, at least one.

    Returns:
        In [0, 1].
    """
    ascending = np.sort(negatives)
    above = len(ascending) - np.searchsorted(ascending, np.sort(positives)[::-1])
    place = np.arange(1, len(positives) + 1)
    return float((place / (place + above)).mean())
