"""Side tables of a loss: from a file that a parameter names, else those of the dataset."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from labelattack.defenses.base import Task
from labelattack.errors import DefenseError
from labelattack.files.storage import TablePath as TablePath
from labelattack.labels.side_lookup import table_of


def scores_for(name: str, path: str | None, task: Task) -> NDArray[np.float32]:
    """Scores of another model, in [0, 1], float32 ``[images, labels]``; not to be written.

    Args:
        name: Name of the defense, for messages; likewise in the other functions.
        path: File of the table; None for that of the task.
        task: The task, whose labels name the images and classes to which a file is matched.

    Raises:
        DefenseError: If there is no table, or it has another shape.
        LabelError: If the file is refused, or the labels have no names to match it to.
    """
    needs = "scores of another model for each image and label"
    found = _table(name, "scores", needs, "csv, parquet or npz", path, task, task.labels.shape)
    return cast("NDArray[np.float32]", found)


def priors_for(name: str, path: str | None, task: Task) -> NDArray[np.float64]:
    """Share of images that have each label, in [0, 1], float64 ``[labels]``.

    Raises:
        Exception: As of ``scores_for``.
    """
    needs = "the share of images that have each label"
    found = _table(name, "priors", needs, "csv", path, task, task.labels.shape[1:])
    return cast("NDArray[np.float64]", found)


def groups_for(name: str, path: str | None, task: Task) -> tuple[str, ...]:
    """Patient, recording, location ... of each image.

    Raises:
        Exception: As of ``scores_for``.
    """
    needs = "the group of each image"
    found = _table(name, "groups", needs, "csv", path, task, task.labels.shape[:1])
    return cast("tuple[str, ...]", found)


def parents_for(name: str, path: str | None, task: Task) -> NDArray[np.int64]:
    """Position of the label that each label implies, int64 ``[labels]``; -1 for none.

    Raises:
        Exception: As of ``scores_for``.
    """
    needs = "the label that each label implies"
    found = _table(name, "parents", needs, "csv", path, task, task.labels.shape[1:])
    return cast("NDArray[np.int64]", found)


def _table(
    name: str,
    kind: str,
    needs: str,
    files: str,
    path: str | None,
    task: Task,
    shape: tuple[int, ...],
) -> Any:
    """A table of a file, or the task's, which must be there and have the shape."""
    if path is not None:
        return table_of(kind, path, task.labels, f"defense '{name}'")
    table = getattr(task.side, kind)
    if table is None:
        raise DefenseError(
            f"defense '{name}' needs {needs}, got none; give them as {name}:{kind}=FILE ({files}) "
            "or declare them on the dataset"
        )
    if (got := np.shape(table)) != shape:
        raise DefenseError(f"{kind} for defense '{name}' must have shape {shape}, got {got}")
    return table
