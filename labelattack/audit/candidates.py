"""Entries that may be missed positives, and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels import BoolArray, Encoding, PartialLabels
from labelattack.labels.storage import IntArray


def doubted(labels: PartialLabels, encoding: Encoding) -> BoolArray:
    """Entries that may be missed positives, bool ``[images, labels]``.

    Args:
        labels: Labels of a file.
        encoding: Encoding of the file. A ``binary`` one cannot say that a label is unknown, so its
            negatives are doubted too; in others only hidden entries are.
    """
    return ~labels.positives if encoding == "binary" else labels.hidden


def candidates_of(labels: PartialLabels, encoding: Encoding) -> BoolArray:
    """Entries that are ``doubted``, checked that there are any, and positives to learn from.

    Raises:
        LabelError: If there are none.
    """
    found = doubted(labels, encoding)
    if not found.any():
        raise LabelError(
            f"labels in encoding '{encoding}' must have entries that may be missed positives, got "
            "none hidden" + ("" if encoding == "binary" else "; encoding 'binary' doubts negatives")
        )
    if not labels.known_positives:
        raise LabelError("labels must have positives to learn from, got none")
    return found


def without(labels: PartialLabels, candidates: BoolArray) -> PartialLabels:
    """Labels with all candidates hidden: a loss must not be told that they are negative."""
    return labels.keep(~labels.at_known(candidates))


def most_likely(
    scores: NDArray[np.floating[Any]], candidates: BoolArray, top: int
) -> tuple[IntArray, IntArray]:
    """Image and class of the candidates with the highest scores, in falling order.

    Args:
        scores: Score of each entry, float ``[images, labels]``.
        candidates: Entries to choose from, bool ``[images, labels]``.
        top: How many at most; of equal scores the first in the order of the matrix.

    Returns:
        Rows and columns, int64 ``[entries]`` each.
    """
    entries = np.flatnonzero(candidates)
    found = entries[np.argsort(-scores.reshape(-1)[entries], kind="stable")[:top]]
    return np.asarray(found // scores.shape[1]), np.asarray(found % scores.shape[1])
