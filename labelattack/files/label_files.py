"""Label files: arrays, writing, and the manifests beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.files.names import as_texts
from labelattack.files.storage import is_file, is_there, saved


class LabelArray(NamedTuple):
    """Content of a label file that is an array, before an encoding is applied.

    Attributes:
        matrix: Numbers ``[images, labels]``, if it is indeed a label file.
        ids: Name of each image; None if the file names none.
        classes: Name of each class; None if the file names none.
        encoding: Declared encoding; None if the file declares none.
    """

    matrix: NDArray[Any]
    ids: list[str] | None = None
    classes: list[str] | None = None
    encoding: str | None = None


def read_label_array(path: Path, array: str) -> LabelArray:
    """Reads a label file that is an array.

    Args:
        path: An ``.npy`` or ``.npz`` file.
        array: Name of the matrix in an ``.npz``.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds anything else; a damaged file may raise nearly any exception.
    """
    return _read_npy(path) if path.suffix.lower() == ".npy" else _read_npz(path, array)


def write_label_file(
    path: Path, matrix: NDArray[Any], ids: Sequence[str], classes: Sequence[str], encoding: str
) -> None:
    """Writes a label file atomically.

    Raises:
        LabelError: If it is of an unknown kind, or its folder does not exist.
        StoreError: If it cannot be written.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise LabelError(f"label file must end in .csv, .npy or .npz to be written, got '{path}'")
    if not is_there(path.parent):
        raise LabelError(f"label file '{path}' cannot be written: its folder is not there")
    with saved(path, "label file") as part:
        write(part, matrix, ids, classes, encoding)


def read_array(path: Path) -> NDArray[Any]:
    """Reads the array of an ``.npy`` file, never unpickling.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds anything else; a hostile file may raise any other exception.
    """
    with path.open("rb") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _read_npy(path: Path) -> LabelArray:
    return LabelArray(read_array(path))


def _read_npz(path: Path, array: str) -> LabelArray:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if array not in archive:
            raise ValueError(f"expected an array '{array}', got {', '.join(archive.files)}")
        ids, classes, encoding = (
            as_texts(np.atleast_1d(archive[key])) if key in archive else None
            for key in ("image_id", "classes", "encoding")
        )
        declared = encoding[0] if encoding else None
        return LabelArray(np.asarray(archive[array]), ids, classes, declared)


def _write_csv(
    path: Path, matrix: NDArray[Any], ids: Sequence[str], classes: Sequence[str], encoding: str
) -> None:
    first = "image_id" if encoding == "binary" else f"image_id ({encoding})"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([first, *classes])
        for name, row in zip(ids, matrix.tolist(), strict=True):
            writer.writerow([name, *("" if code != code else int(code) for code in row)])


def _write_npy(path: Path, matrix: NDArray[Any], *_: object) -> None:
    with path.open("wb") as file:
        np.save(file, matrix)


def _write_npz(
    path: Path, matrix: NDArray[Any], ids: Sequence[str], classes: Sequence[str], encoding: str
) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            labels=matrix,
            encoding=np.array(encoding),
            image_id=np.array(ids, dtype=np.str_),
            classes=np.array(classes, dtype=np.str_),
        )


ARRAY_KINDS = (".npy", ".npz")
_WRITERS: dict[str, Callable[..., None]] = {
    ".csv": _write_csv,
    ".npy": _write_npy,
    ".npz": _write_npz,
}


def manifest_beside(path: Path) -> Path:
    """Default path of the manifest of an attacked label file."""
    return path.parent / f"{path.name}.manifest.json"


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest beside a label file; empty if there is none."""
    beside = manifest_beside(path)
    if not is_file(beside):
        return {}
    try:
        manifest = json.loads(beside.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabelError(f"its manifest '{beside}' cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise LabelError(
            f"its manifest '{beside}' must be an object, got a {type(manifest).__name__}"
        )
    return manifest
