"""Three-state labels: each entry of the label matrix is positive, negative or hidden."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown, unknown
from labelattack.files.label_files import (
    manifest_beside,
    of_array,
    read_manifest,
    read_raw,
    write_raw,
)
from labelattack.files.names import repeated

BoolArray = NDArray[np.bool_]

Encoding = Literal["binary", "signed", "missing", "nan"]
"""Codes of the three states in a file or array.

| encoding | positive | negative | hidden |
|---|---|---|---|
| ``binary`` | 1 | 0 | cannot be written |
| ``signed`` | 1 | -1 | 0 |
| ``missing`` | 1 | 0 | -1 |
| ``nan`` | 1 | 0 | NaN (an empty field in CSV) |
"""

_CODES: dict[str, tuple[float, float, float | None]] = {
    "binary": (1, 0, None),
    "signed": (1, -1, 0),
    "missing": (1, 0, -1),
    "nan": (1, 0, np.nan),
}


@dataclass(frozen=True, eq=False)
class PartialLabels:
    """Partial labels: an immutable matrix of labels, some of them hidden.

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
        """Entries whose label is not known, bool ``[images, labels]``."""
        return ~self.observed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartialLabels):
            return NotImplemented
        return np.array_equal(self.values, other.values) and np.array_equal(
            self.observed, other.observed
        )

    __hash__ = None  # type: ignore[assignment]

    def digest(self) -> str:
        """Hash of shape, values and mask: 16 hex digits, equal for equal labels only."""
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
    """Content of a label file: labels, image ids and class names."""

    labels: PartialLabels
    ids: list[str]
    classes: list[str]


def check_matrix(name: str, array: Any) -> None:
    """Raises LabelError unless ``array`` is a bool matrix."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.bool_:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise LabelError(f"{name} must be a bool array [images, labels], got {got}")


def decode(array: NDArray[Any], encoding: Encoding) -> PartialLabels:
    """Decodes an array of labels; the encoding is never guessed.

    Args:
        array: Numbers ``[images, labels]``.
        encoding: Encoding of its values, see [Encoding][labelattack.labels.Encoding].

    Returns:
        The labels.

    Raises:
        LabelError: If the array is not a matrix or holds a value that the encoding does not know;
            the first such entry is named.
    """
    raw = of_array(np.asarray(array))
    return _decoded(raw.matrix, encoding, raw.entry)


def _decoded(
    array: NDArray[Any], encoding: Encoding, place: Callable[[int, int], str]
) -> PartialLabels:
    """Decoded labels; ``place`` names value and position of an illegal entry in messages."""
    check_encoding(encoding)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise LabelError(
            f"labels must be a numeric matrix [images, labels], got {array.dtype} {array.shape}"
        )
    positive, negative, _ = _CODES[encoding]
    legal = _legal(array, encoding)
    if not legal.all():
        row, column = (int(i) for i in np.argwhere(~legal)[0])
        codes = ", ".join(f"{code:g}" for code in _CODES[encoding] if code is not None)
        fitting = [f"'{name}'" for name in _CODES if _legal(array, name).all()]
        hint = f"they fit encoding {' and '.join(fitting)}" if fitting else ""
        raise LabelError(
            f"labels in encoding '{encoding}' must be one of {codes}, got {place(row, column)} "
            f"({int((~legal).sum())} such cells); "
            f"{hint or 'encodings: ' + ', '.join(_CODES)}"
        )
    values = array == positive
    return PartialLabels(values, values | (array == negative))


def _legal(array: NDArray[Any], encoding: str) -> BoolArray:
    """Mask of the entries that hold a value of the encoding, bool ``[images, labels]``."""
    known = [_is(array, code) for code in _CODES[encoding] if code is not None]
    legal: BoolArray = np.logical_or.reduce(known)
    return legal


def encode(labels: PartialLabels, encoding: Encoding) -> NDArray[Any]:
    """Encodes labels as numbers, the inverse of [decode][labelattack.labels.decode].

    Args:
        labels: The labels.
        encoding: Encoding of the result.

    Returns:
        int8 ``[images, labels]``, or float32 for ``nan``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    check_encoding(encoding)
    positive, negative, hidden = _CODES[encoding]
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

    A file written by [write_labels][labelattack.labels.write_labels] or ``labelattack attack``
    declares its encoding, in the file or in the manifest beside it, and is read in no other.

    Args:
        path: ``.csv`` (header; first column the image id, one column per class; separated by
            commas, semicolons or tabs; 1 may be ``true``, 0 ``false``), ``.npy`` (matrix) or
            ``.npz`` (a matrix and optionally ``image_id`` and ``classes``).
        encoding: Encoding of its values.
        array: Name of the matrix in an ``.npz``.

    Returns:
        Labels, ids and classes; running numbers where the file names none.

    Raises:
        LabelError: If the file is absent, unreadable, of another kind, holds other values,
            declares another encoding, or names an image or a class twice.
    """
    check_encoding(encoding)
    raw = read_raw(path, array)
    try:
        _check_declared(path, raw.encoding, encoding)
        labels = _decoded(raw.matrix, encoding, raw.entry)
        images, count = labels.shape
        ids = raw.ids if raw.ids is not None else [str(i) for i in range(images)]
        classes = raw.classes if raw.classes is not None else [str(i) for i in range(count)]
        if (len(ids), len(classes)) != (images, count):
            raise LabelError(
                f"it must name every row and column of its {images} x {count} labels, got "
                f"{len(ids)} ids and {len(classes)} classes"
            )
        check_names(ids, classes, raw.row)
    except LabelError as error:
        raise LabelError(f"label file '{path}': {error}") from error
    return LabelTable(labels, ids, classes)


def check_names(
    ids: Sequence[str], classes: Sequence[str], row: Callable[[int], str] = "row {}".format
) -> None:
    """Raises LabelError unless every image and every class has a unique, non-empty name.

    Args:
        ids: Name of each image.
        classes: Name of each class.
        row: Names the place of an image in messages.
    """
    columns = "column {}".format
    for what, names, place in (("an image", ids, row), ("a class", classes, columns)):
        if "" in names:
            raise LabelError(f"{what} must have a name, got none at {place(names.index(''))}")
        message = repeated(what, names, place)
        if message:
            raise LabelError(message)


def write_labels(path: Path, table: LabelTable, encoding: Encoding) -> None:
    """Writes a label file that [read_labels][labelattack.labels.read_labels] reads back.

    The write is atomic. The file declares its encoding: in the first header field of a CSV
    (``image_id (signed)``; a plain ``image_id`` means ``binary``), under ``encoding`` in an
    ``.npz``. For an ``.npy``, which has no room for it, the attack's manifest beside it does.

    Args:
        path: File to write; ``.csv``, ``.npy`` (matrix only) or ``.npz``.
        table: Labels with ids and classes.
        encoding: Encoding of the file.

    Raises:
        LabelError: If suffix or encoding cannot hold the labels, or a name occurs twice.
        StoreError: If it cannot be written; a previous file then stays.
    """
    matrix = encode(table.labels, encoding)
    check_names(table.ids, table.classes)
    write_raw(path, matrix, table.ids, table.classes, encoding)


def check_encoding(encoding: str) -> None:
    """Raises UnknownNameError unless it is an [Encoding][labelattack.labels.Encoding]."""
    if encoding not in get_args(Encoding):
        raise unknown("label encoding", encoding, _CODES)


def _is(array: NDArray[Any], code: float) -> BoolArray:
    return np.asarray(np.isnan(array) if np.isnan(code) else array == code, dtype=np.bool_)


def _check_declared(path: Path, own: str | None, asked: str) -> None:
    """Raises LabelError if a label file declares another encoding than the requested one."""
    account = read_manifest(path)
    hides = account.get("removed_positives") or account.get("removed_negatives")
    declared = account.get("encoding") if own is None else own
    if declared == asked:
        return
    if declared is not None:
        content = f"is in encoding {shown(declared)}"
    elif asked == "binary" and hides:
        content = "hides labels"
    else:
        return
    place = "" if own is not None else f" in '{manifest_beside(path)}'"
    attack = f", left by attack '{account['attack']}'" if "attack" in account else ""
    clean = ": these are attacked labels, not clean ones" if asked == "binary" else ""
    raise LabelError(
        f"it must be in encoding '{asked}', but says{place} that it {content}{attack}{clean}"
    )
