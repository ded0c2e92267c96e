"""Label files: their numbers and names, before an encoding is applied."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.files.delimited import Delimited, read_delimited
from labelattack.files.names import as_texts
from labelattack.files.storage import is_file, is_there, saved


class RawLabels(NamedTuple):
    """Content of a label file.

    Attributes:
        matrix: Numbers ``[images, labels]``, if it is indeed a label file.
        ids: Name of each image; None if the file names none.
        classes: Name of each class; None if the file names none.
        encoding: Declared encoding; None if the file declares none.
        entry: Names value and position of an entry, in messages.
        row: Names the place of an image, in messages.
    """

    matrix: NDArray[Any]
    ids: list[str] | None
    classes: list[str] | None
    encoding: str | None
    entry: Callable[[int, int], str]
    row: Callable[[int], str]


def of_array(
    matrix: NDArray[Any],
    ids: list[str] | None = None,
    classes: list[str] | None = None,
    encoding: str | None = None,
) -> RawLabels:
    """Labels of an array; entries and images are named by their positions."""

    def entry(row: int, column: int) -> str:
        return f"{matrix[row, column]:g} at row {row}, column {column}"

    return RawLabels(matrix, ids, classes, encoding, entry, "row {}".format)


def read_raw(path: Path, array: str) -> RawLabels:
    """Reads a label file.

    Args:
        path: The file; its suffix gives its kind.
        array: Name of the matrix in an ``.npz``.

    Raises:
        LabelError: If it is absent, unreadable or of an unknown kind.
    """
    read, _ = _kind(path)
    try:
        return read(path, array)
    except FileNotFoundError as error:
        raise LabelError(f"label file '{path}' is not there") from error
    except Exception as error:  # readers of archives raise nearly anything on a damaged one
        raise LabelError(f"label file '{path}' cannot be read: {error}") from error


def write_raw(
    path: Path, matrix: NDArray[Any], ids: Sequence[str], classes: Sequence[str], encoding: str
) -> None:
    """Writes a label file atomically.

    Raises:
        LabelError: If it is of an unknown kind, or its folder does not exist.
        StoreError: If it cannot be written.
    """
    _, write = _kind(path)
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


def _read_npy(path: Path, _: str) -> RawLabels:
    return of_array(read_array(path))


def _read_npz(path: Path, array: str) -> RawLabels:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if array not in archive:
            raise ValueError(f"expected an array '{array}', got {', '.join(archive.files)}")
        ids, classes, encoding = (
            as_texts(np.atleast_1d(archive[key])) if key in archive else None
            for key in ("image_id", "classes", "encoding")
        )
        return of_array(np.asarray(archive[array]), ids, classes, encoding[0] if encoding else None)


# Header names of the id column; any other text may be an image name in a file without header.
_ID_COLUMNS = ("", "image_id", "id", "image", "file", "filename", "file_name", "name", "path")
_DECLARED = re.compile(r"(image_id)\s*\((\w+)\)", re.IGNORECASE)
_WORDS = {"true": 1.0, "false": 0.0, "": np.nan}


def _read_csv(path: Path, _: str) -> RawLabels:
    table = read_delimited(path)
    first, *classes = table.header.fields
    if not classes:
        raise table.no_header(
            "there must be an id column and one column for each class, divided by commas, "
            "semicolons or tabs"
        )
    declared = _DECLARED.fullmatch(first)
    name, encoding = declared.groups() if declared else (first, None)
    if name.lower() not in _ID_COLUMNS and all(_number(name) is not None for name in classes):
        raise table.no_header(
            "these are labels and name no classes (if they do, call the first column image_id)"
        )
    table.check_header()
    ids = [row.fields[0] for row in table.rows]

    def entry(row: int, column: int) -> str:
        line, fields = table.rows[row]
        return f"'{fields[column + 1]}' at line {line}, column '{classes[column]}'"

    return RawLabels(
        _numbers(table), ids, classes, encoding, entry, lambda row: f"line {table.rows[row].line}"
    )


def _numbers(table: Delimited) -> NDArray[np.float32]:
    """Fields as numbers ``[images, labels]``; infinite where no encoding knows the value."""
    numbers: dict[str, float] = {}
    for row in table.rows:
        for field in row.fields[1:]:
            if field not in numbers:
                number = _number(field)
                numbers[field] = np.inf if number is None else number
    matrix = (numbers[field] for row in table.rows for field in row.fields[1:])
    width = len(table.header.fields) - 1
    return np.fromiter(matrix, np.float32, len(table.rows) * width).reshape(-1, width)


def _number(field: str) -> float | None:
    """Label written in a field: 1, 0, -1 or NaN; None if no encoding knows the value."""
    try:
        number = _WORDS[field.lower()] if field.lower() in _WORDS else float(field)
    except ValueError:
        return None
    return number if number in (1, 0, -1) or np.isnan(number) else None


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


_KINDS: dict[str, tuple[Callable[..., RawLabels], Callable[..., None]]] = {
    ".csv": (_read_csv, _write_csv),
    ".npy": (_read_npy, _write_npy),
    ".npz": (_read_npz, _write_npz),
}


def _kind(path: Path) -> tuple[Callable[..., RawLabels], Callable[..., None]]:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise LabelError(f"label file must end in .csv, .npy or .npz, got '{path}'")
    return kind


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
