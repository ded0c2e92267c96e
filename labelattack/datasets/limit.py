"""Fewer images of each split, for quick tries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import Splits
from labelattack.errors import DatasetError, ParameterError


def limited(splits: Splits, limit: int) -> Splits:
    """At most so many images of each split, evenly spaced in the dataset's order.

    Evenly spaced, as many datasets are sorted by class. Classes may lose all their positives; a
    note counts them, and the warnings of the result say what that means.

    Args:
        splits: The dataset.
        limit: Most images of a split; a split with fewer stays whole.

    Raises:
        ParameterError: If nothing that is left of the test labels can be scored.
    """
    rows = {name: _evenly(len(split), limit) for name, split in splits.parts.items()}
    train, val, test = (split.take(rows[name]) for name, split in splits.parts.items())
    used = ", ".join(f"{len(rows[name])} of {len(s)} in {name}" for name, s in splits.parts.items())
    note = f"limit: {used}"
    for (name, split), part in zip(splits.parts.items(), (train, val, test), strict=True):
        had, has = (each.partial.per_class("positives") > 0 for each in (split, part))
        if lost := np.count_nonzero(had & ~has):
            note += f"; {lost} classes lose all positives in {name}"
    side, notes = splits.side.take(rows["train"]), (*splits.notes, note)
    try:
        return replace(splits, train=train, val=val, test=test, side=side, notes=notes)
    except DatasetError as error:
        raise ParameterError(f"limit must be larger on these data, got {limit}: {error}") from error


def _evenly(images: int, most: int) -> NDArray[np.int64]:
    """Rows of at most so many images, evenly spaced."""
    count = min(images, most)
    return np.arange(count, dtype=np.int64) * images // count
