"""Three-state labels: every cell of an images-by-labels matrix is positive, negative or hidden."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, unknown

BoolArray = NDArray[np.bool_]

Encoding = Literal["binary", "signed", "missing", "nan"]
"""How a file or array writes the three states.

| encoding | positive | negative | hidden |
|---|---|---|---|
| ``binary`` | 1 | 0 | cannot be written |
| ``signed`` | 1 | -1 | 0 |
| ``missing`` | 1 | 0 | -1 |
| ``nan`` | 1 | 0 | NaN (an empty cell in CSV) |
"""

_CODES: dict[str, tuple[float, float, float | None]] = {
    "binary": (1, 0, None),
    "signed": (1, -1, 0),
    "missing": (1, 0, -1),
    "nan": (1, 0, np.nan),
}


@dataclass(frozen=True, eq=False)
class PartialLabels:
    """Immutable labels of which some are hidden.

    Attributes:
        values: bool ``[images, labels]``; False wherever hidden, so that nothing reads a hidden
            label by accident.
        observed: bool ``[images, labels]``; False where the label is hidden.

    Raises:
        LabelError: If the arrays are not two-dimensional booleans of one shape.
    """

    values: BoolArray
    observed: BoolArray

    def __post_init__(self) -> None:
        for name, array in (("values", self.values), ("observed", self.observed)):
            check_matrix(name, array)
        if self.values.shape != self.observed.shape:
            raise LabelError(
                f"values and observed must have one shape, got {self.values.shape} and "
                f"{self.observed.shape}"
            )
        values, observed = self.values & self.observed, self.observed.copy()
        for array in (values, observed):
            array.setflags(write=False)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "observed", observed)

    @classmethod
    def full(cls, labels: BoolArray) -> PartialLabels:
        """Wraps clean labels, bool ``[images, labels]``, with nothing hidden."""
        return cls(labels, np.ones_like(labels))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images and number of labels."""
        images, labels = self.values.shape
        return images, labels

    @property
    def positives(self) -> BoolArray:
        """Observed positives, bool ``[images, labels]``."""
        return self.values

    @property
    def negatives(self) -> BoolArray:
        """Observed negatives, bool ``[images, labels]``."""
        return self.observed & ~self.values

    @property
    def hidden(self) -> BoolArray:
        """Cells whose label is not known, bool ``[images, labels]``."""
        return ~self.observed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartialLabels):
            return NotImplemented
        return np.array_equal(self.values, other.values) and np.array_equal(
            self.observed, other.observed
        )

    __hash__ = None  # type: ignore[assignment]

    def digest(self) -> str:
        """Hash of what is observed: 16 hex digits, equal for equal labels only."""
        parts = hashlib.sha256(str(self.shape).encode())
        for array in (self.values, self.observed):
            parts.update(np.packbits(array).tobytes())
        return parts.hexdigest()[:16]

    def __repr__(self) -> str:
        images, labels = self.shape
        return (
            f"PartialLabels({images} images x {labels} labels: {self.positives.sum()} positive, "
            f"{self.negatives.sum()} negative, {self.hidden.sum()} hidden)"
        )


class LabelTable(NamedTuple):
    """Labels with the names of their rows and columns, as label files hold them."""

    labels: PartialLabels
    ids: list[str]
    classes: list[str]


def check_matrix(name: str, array: Any) -> None:
    """Raises LabelError unless ``array`` is a bool matrix."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.bool_:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise LabelError(f"{name} must be a bool array [images, labels], got {got}")


def decode(array: NDArray[Any], encoding: Encoding) -> PartialLabels:
    """Reads an array in one of the encodings in use; the encoding is never guessed.

    Args:
        array: Numbers ``[images, labels]``.
        encoding: What its values mean, see [Encoding][labelattack.labels.Encoding].

    Returns:
        The labels.

    Raises:
        LabelError: If the array is not a matrix or holds a value that the encoding does not know;
            the first such cell is named.
    """
    positive, negative, hidden = _codes(encoding)
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise LabelError(
            f"labels must be a numeric matrix [images, labels], got {array.dtype} {array.shape}"
        )
    values = array == positive
    observed = values | (array == negative)
    legal = observed if hidden is None else observed | _is(array, hidden)
    if not legal.all():
        row, column = (int(i) for i in np.argwhere(~legal)[0])
        wanted = ", ".join(f"{code:g}" for code in _codes(encoding) if code is not None)
        raise LabelError(
            f"labels in encoding '{encoding}' must be one of {wanted}, got {array[row, column]:g} "
            f"at row {row}, column {column} ({int((~legal).sum())} such cells); "
            f"encodings: {', '.join(_CODES)}"
        )
    return PartialLabels(values, observed)


def encode(labels: PartialLabels, encoding: Encoding) -> NDArray[Any]:
    """Writes labels as numbers, the inverse of [decode][labelattack.labels.decode].

    Args:
        labels: The labels.
        encoding: How to write the three states.

    Returns:
        int8 ``[images, labels]``, or float32 for ``nan``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    positive, negative, hidden = _codes(encoding)
    if hidden is None and labels.hidden.any():
        raise LabelError(
            f"encoding 'binary' must have no hidden labels, got {int(labels.hidden.sum())}; "
            "use signed, missing or nan"
        )
    dtype = np.float32 if encoding == "nan" else np.int8
    array = np.full(labels.shape, 0 if hidden is None else hidden, dtype=dtype)
    array[labels.positives] = positive
    array[labels.negatives] = negative
    return array


def read_labels(path: Path, encoding: Encoding, *, array: str = "labels") -> LabelTable:
    """Reads a label file.

    Args:
        path: ``.csv`` (header; first column the image id, one column a class), ``.npy`` (matrix) or
            ``.npz`` (a matrix and optionally ``image_id`` and ``classes``).
        encoding: What its values mean.
        array: Name of the matrix in an ``.npz``.

    Returns:
        Labels, ids and classes; files without names get running numbers.

    Raises:
        LabelError: If the file is absent, unreadable, of another kind, or holds other values.
    """
    reader = {".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz}.get(path.suffix.lower())
    if reader is None:
        raise LabelError(f"label file must end in .csv, .npy or .npz, got '{path}'")
    try:
        matrix, ids, classes = reader(path, array)
    except FileNotFoundError as error:
        raise LabelError(f"label file '{path}' is not there") from error
    except Exception as error:  # readers of archives raise nearly anything on a damaged one
        raise LabelError(f"label file '{path}' cannot be read: {error}") from error
    try:
        labels = decode(matrix, encoding)
    except LabelError as error:
        raise LabelError(f"label file '{path}': {error}") from error
    images, count = labels.shape
    ids = ids if ids is not None else [str(i) for i in range(images)]
    classes = classes if classes is not None else [str(i) for i in range(count)]
    if (len(ids), len(classes)) != (images, count):
        raise LabelError(
            f"label file '{path}' must name every row and column of its {images} x {count} labels, "
            f"got {len(ids)} ids and {len(classes)} classes"
        )
    return LabelTable(labels, ids, classes)


def read_array(path: Path) -> NDArray[Any]:
    """Reads the array of an ``.npy`` file, never unpickling.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds something else; a hostile one may raise any other exception too.
    """
    with path.open("rb") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def write_labels(path: Path, table: LabelTable, encoding: Encoding) -> None:
    """Writes a label file that [read_labels][labelattack.labels.read_labels] reads back.

    Args:
        path: Where to; ``.csv``, ``.npy`` (matrix only) or ``.npz``.
        table: Labels with ids and classes.
        encoding: How to write the three states.

    Raises:
        LabelError: If the suffix or the encoding cannot hold the labels, or writing fails.
    """
    matrix = encode(table.labels, encoding)
    try:
        if path.suffix.lower() == ".csv":
            path.write_text(_csv_text(matrix, table))
        elif path.suffix.lower() == ".npy":
            np.save(path, matrix)
        elif path.suffix.lower() == ".npz":
            np.savez_compressed(
                path, labels=matrix, image_id=np.array(table.ids), classes=np.array(table.classes)
            )
        else:
            raise LabelError(f"label file must end in .csv, .npy or .npz, got '{path}'")
    except OSError as error:
        raise LabelError(f"label file '{path}' cannot be written: {error}") from error


def check_encoding(encoding: str) -> None:
    """Raises UnknownNameError unless it is an [Encoding][labelattack.labels.Encoding]."""
    if encoding not in get_args(Encoding):
        raise unknown("label encoding", encoding, _CODES)


def _codes(encoding: str) -> tuple[float, float, float | None]:
    check_encoding(encoding)
    return _CODES[encoding]


def _is(array: NDArray[Any], code: float) -> BoolArray:
    return np.asarray(np.isnan(array) if np.isnan(code) else array == code, dtype=np.bool_)


_Raw = tuple[NDArray[Any], list[str] | None, list[str] | None]


def _read_npy(path: Path, _: str) -> _Raw:
    return read_array(path), None, None


def _read_npz(path: Path, array: str) -> _Raw:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if array not in archive:
            raise ValueError(f"expected an array '{array}', got {', '.join(archive.files)}")
        names = [
            [str(name) for name in archive[key]] if key in archive else None
            for key in ("image_id", "classes")
        ]
        return archive[array], names[0], names[1]


def _read_csv(path: Path, _: str) -> _Raw:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows or len(rows[0]) < 2:
        raise ValueError("expected a header: an id column and one column for each class")
    header, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"line {number} must have {len(header)} cells, got {len(row)}")
    cells = [[cell or "nan" for cell in row[1:]] for row in body]
    matrix = np.array(cells, dtype=np.float32).reshape(len(body), len(header) - 1)
    return matrix, [row[0] for row in body], header[1:]


def _csv_text(matrix: NDArray[Any], table: LabelTable) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", *table.classes])
    for name, row in zip(table.ids, matrix.tolist(), strict=True):
        writer.writerow([name, *("" if cell != cell else int(cell) for cell in row)])
    return text.getvalue()
