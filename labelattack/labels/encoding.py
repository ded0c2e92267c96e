"""Codes of the three states of a label in files and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, unknown
from labelattack.files.label_files import of_array
from labelattack.labels.partial import BoolArray, PartialLabels

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


def decode(array: NDArray[Any], encoding: Encoding) -> PartialLabels:
    """Decodes an array of labels; the encoding is never guessed.

    Args:
        array: Numbers ``[images, labels]``.
        encoding: Encoding of its values, see [Encoding][labelattack.labels.encoding.Encoding].

    Returns:
        The labels.

    Raises:
        LabelError: If the array is not a matrix or holds a value that the encoding does not know;
            the first such entry is named.
    """
    raw = of_array(np.asarray(array))
    return decoded(raw.matrix, encoding, raw.entry)


def decoded(
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
    """Encodes labels as numbers, the inverse of [decode][labelattack.labels.encoding.decode].

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


def check_encoding(encoding: str) -> None:
    """Raises UnknownNameError unless it is an [Encoding][labelattack.labels.encoding.Encoding]."""
    if encoding not in get_args(Encoding):
        raise unknown("label encoding", encoding, _CODES)


def _is(array: NDArray[Any], code: float) -> BoolArray:
    return np.asarray(np.isnan(array) if np.isnan(code) else array == code, dtype=np.bool_)
