"""Side tables from files, read once for the same images and classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelattack.errors import LabelError
from labelattack.files.content import content_digest
from labelattack.labels.partial import PartialLabels
from labelattack.labels.side_files import (
    read_groups,
    read_parents,
    read_priors,
    read_scores,
    read_weights,
)


class _Reader(NamedTuple):
    """A reader, and the names of the labels that it matches rows and columns to."""

    read: Callable[..., Any]
    names: tuple[str, ...]


TABLES = {
    "scores": _Reader(read_scores, ("ids", "classes")),
    "areas": _Reader(read_scores, ("ids", "classes")),
    "priors": _Reader(read_priors, ("classes",)),
    "weights": _Reader(read_weights, ("classes",)),
    "groups": _Reader(read_groups, ("ids",)),
    "parents": _Reader(read_parents, ("classes",)),
}
"""Kinds of side tables that a file may hold."""


def table_of(kind: str, path: str, labels: PartialLabels, who: str) -> Any:
    """A side table of a file; every run asks for the same, so it is read once.

    Args:
        kind: Kind of the table.
        path: The file.
        labels: Labels whose names of images and classes the file is matched to.
        who: Component that asks, for messages: ``defense 'vlpl'``.

    Returns:
        The table as its reader gives it; an array cannot be written.

    Raises:
        LabelError: If the labels have no names, or the file is refused.
    """
    names = []
    for attribute in TABLES[kind].names:
        found = getattr(labels, attribute)
        if found is None:
            of = {"ids": "images", "classes": "classes"}[attribute]
            raise LabelError(
                f"{who} matches its file of {kind} by name, so the labels must name their {of}, "
                "got none"
            )
        names.append(tuple(found))
    try:
        digest = content_digest(Path(path))
    except OSError as error:
        raise LabelError(
            f"side table '{path}' cannot be read: {error.strerror or error}"
        ) from error
    return _read(kind, path, digest, *names)


@lru_cache(maxsize=6)
def _read(kind: str, path: str, digest: str, *names: tuple[str, ...]) -> Any:
    """A table; the hash of the file is there for the cache."""
    del digest
    found = TABLES[kind].read(Path(path), *names)
    if isinstance(found, np.ndarray):
        found.flags.writeable = False
    return found
