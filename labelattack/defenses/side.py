"""Side tables of a loss: from a file that a parameter names, else those of the dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from labelattack.defenses.base import Task
from labelattack.errors import DefenseError, LabelError
from labelattack.files.content import content_digest
from labelattack.files.storage import path_unless
from labelattack.labels.side_files import read_groups, read_parents, read_priors, read_scores

T = TypeVar("T")
TablePath = Annotated[str, path_unless()]
"""A parameter that is the path of a side table."""


def scores_for(name: str, path: str | None, task: Task) -> NDArray[np.float32]:
    """Scores of another model, in [0, 1], float32 ``[images, labels]``; not to be written.

    Args:
        name: Name of the defense, for messages; likewise in the other functions.
        path: File of the table; None for that of the task.
        task: The task, whose labels name the images and classes to which a file is matched.

    Raises:
        DefenseError: If there is no table, it has another shape, or there is a file but the labels
            have no names to match it to.
        LabelError: If the file is refused.
    """
    needs = "scores of another model for each image and label"
    if path is not None:
        return _read(_scores, path, *_names(name, "scores", task, "ids", "classes"))
    _check(name, "scores", needs, "csv, parquet or npz", task.side.scores, task.labels.shape)
    return cast("NDArray[np.float32]", task.side.scores)


def priors_for(name: str, path: str | None, task: Task) -> NDArray[np.float64]:
    """Share of images that have each label, in [0, 1], float64 ``[labels]``.

    Raises:
        Exception: As of ``scores_for``.
    """
    if path is not None:
        return _read(_priors, path, *_names(name, "priors", task, "classes"))
    needs = "the share of images that have each label"
    _check(name, "priors", needs, "csv", task.side.priors, task.labels.shape[1:])
    return cast("NDArray[np.float64]", task.side.priors)


def groups_for(name: str, path: str | None, task: Task) -> tuple[str, ...]:
    """Patient, recording, location ... of each image.

    Raises:
        Exception: As of ``scores_for``.
    """
    if path is not None:
        return _read(_groups, path, *_names(name, "groups", task, "ids"))
    needs = "the group of each image"
    _check(name, "groups", needs, "csv", task.side.groups, task.labels.shape[:1])
    return cast("tuple[str, ...]", task.side.groups)


def parents_for(name: str, path: str | None, task: Task) -> NDArray[np.int64]:
    """Position of the label that each label implies, int64 ``[labels]``; -1 for none.

    Raises:
        Exception: As of ``scores_for``.
    """
    if path is not None:
        return _read(_parents, path, *_names(name, "parents", task, "classes"))
    needs = "the label that each label implies"
    _check(name, "parents", needs, "csv", task.side.parents, task.labels.shape[1:])
    return cast("NDArray[np.int64]", task.side.parents)


def _names(name: str, kind: str, task: Task, *which: str) -> list[tuple[str, ...]]:
    """Names of images or classes to which a file is matched."""
    found = []
    for attribute in which:
        names = getattr(task.labels, attribute)
        if names is None:
            what = {"ids": "images", "classes": "classes"}[attribute]
            raise DefenseError(
                f"defense '{name}' matches its file of {kind} by name, so the labels must name "
                f"their {what}, got none"
            )
        found.append(tuple(names))
    return found


def _check(
    name: str, kind: str, needs: str, files: str, table: Any, shape: tuple[int, ...]
) -> None:
    """Raises DefenseError unless the task has a table, of this shape."""
    if table is None:
        raise DefenseError(
            f"defense '{name}' needs {needs}, got none; give them as {name}:{kind}=FILE ({files}) "
            "or declare them on the dataset"
        )
    if (got := np.shape(table)) != shape:
        raise DefenseError(f"{kind} for defense '{name}' must have shape {shape}, got {got}")


def _read(read: Callable[..., T], path: str, *names: tuple[str, ...]) -> T:
    """Reads a file unless it was read before for the same names; every run asks for the same."""
    try:
        digest = content_digest(Path(path))
    except OSError as error:
        raise LabelError(
            f"side table '{path}' cannot be read: {error.strerror or error}"
        ) from error
    return read(path, digest, *names)


# The hashes of the files are there for the caches.
@lru_cache(maxsize=2)
def _scores(
    path: str, _: str, ids: tuple[str, ...], classes: tuple[str, ...]
) -> NDArray[np.float32]:
    return _kept(read_scores(Path(path), ids, classes))


@lru_cache(maxsize=2)
def _priors(path: str, _: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    return _kept(read_priors(Path(path), classes))


@lru_cache(maxsize=2)
def _groups(path: str, _: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    return read_groups(Path(path), ids)


@lru_cache(maxsize=2)
def _parents(path: str, _: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    return _kept(read_parents(Path(path), classes))


def _kept(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
