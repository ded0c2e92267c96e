"""Labels and side tables without content, for state that is allocated in order to be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from labelattack.defenses.base import PartialLabelLoss
from labelattack.labels import PartialLabels, SideTables


@contextmanager
def blank_task(
    loss: PartialLabelLoss, shape: tuple[int, int], side: SideTables
) -> Iterator[tuple[PartialLabels, SideTables]]:
    """Labels and side tables of a shape, of the kinds that a loss uses.

    Files that the loss names are not read within the context: they are matched to names of images,
    which are not known.

    Args:
        loss: The loss.
        shape: Number of images and of labels.
        side: Side tables that the loss will be given.
    """
    images, classes = shape
    none = np.zeros(0, dtype=np.int64)
    blank = SideTables(
        scores=np.zeros(shape, dtype=np.float32),
        priors=np.zeros(classes),
        groups=("",) * images,
        parents=np.full(classes, -1),
    )
    files = {kind: getattr(loss, kind, None) for kind in loss.side_tables}
    named = [kind for kind, file in files.items() if file is not None]
    given = [kind for kind in files if getattr(side, kind) is not None]
    try:
        for kind in named:
            setattr(loss, kind, None)
        labels = PartialLabels.from_entries(shape, none, none, none.astype(np.bool_))
        yield labels, blank.only([*named, *given])
    finally:
        for kind in named:
            setattr(loss, kind, files[kind])
