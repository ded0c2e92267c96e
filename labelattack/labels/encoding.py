"""Codes of the three states of a label in files and arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, unknown
from labelattack.labels.storage import BoolArray

if TYPE_CHECKING:
    from labelattack.labels.partial import PartialLabels

Encoding = Literal["binary", "signed", "missing", "nan"]
"""Codes of the three states in a file or array.

| encoding | positive | negative | hidden |
|---|---|---|---|
| ``binary`` | 1 | 0 | cannot be written |
| ``signed`` | 1 | -1 | 0 |
| ``missing`` | 1 | 0 | -1 |
| ``nan`` | 1 | 0 | NaN (an empty field in CSV) |
"""

CODES: dict[str, tuple[float, float, float | None]] = {
    "binary": (1, 0, None),
    "signed": (1, -1, 0),
    "missing": (1, 0, -1),
    "nan": (1, 0, np.nan),
}


class Decoder:
    """Decodes numbers that come in parts, and remembers those that the encoding does not know.

    Args:
        encoding: Encoding of the numbers.

    Raises:
        UnknownNameError: If the encoding is unknown.
    """

    def __init__(self, encoding: Encoding) -> None:
        check_encoding(encoding)
        self._encoding = encoding
        self._fitting = dict.fromkeys(CODES, True)
        self._first, self._wrong = "", 0

    def decode(
        self, numbers: NDArray[Any], place: Callable[..., str]
    ) -> tuple[BoolArray, BoolArray]:
        """Decodes some numbers.

        Args:
            numbers: Array of any shape.
            place: Names value and place of the number at a position, for the message.

        Returns:
            Which are positive, and which are known, bool, of the same shape.
        """
        found = {code: _is(numbers, code) for code in (1.0, 0.0, -1.0, np.nan)}
        there = [code for code, where in found.items() if where.any()]
        other = not np.logical_or.reduce(list(found.values())).all()
        for name in self._fitting:
            fits = not other and all(_among(code, name) for code in there)
            self._fitting[name] &= fits
        positive, negative, hidden = CODES[self._encoding]
        known = found[positive] | found[negative]
        wrong = ~known if hidden is None else ~(known | _is(numbers, hidden))
        if wrong.any():
            if not self._wrong:
                self._first = place(*(int(i) for i in np.argwhere(wrong)[0]))
            self._wrong += int(np.count_nonzero(wrong))
        return found[positive], known

    def check(self, hint: str = "", option: str = "") -> None:
        """Raises LabelError if a number was no code of the encoding; names the first.

        Args:
            hint: Said where no encoding fits.
            option: Said where one fits: how to choose it.
        """
        if not self._wrong:
            return
        codes = ", ".join(f"{code:g}" for code in CODES[self._encoding] if code is not None)
        fitting = [f"'{name}'" for name, fits in self._fitting.items() if fits]
        fits = f"they fit encoding {' and '.join(fitting)}{option}" if fitting else ""
        raise LabelError(
            f"labels in encoding '{self._encoding}' must be one of {codes}, got {self._first} "
            f"({self._wrong} such cells); {fits or hint or 'encodings: ' + ', '.join(CODES)}"
        )


def _among(code: float, encoding: str) -> bool:
    """Whether a number is a code of an encoding."""
    return any(_is(np.array(code), own) for own in CODES[encoding] if own is not None)


class _Numbers(dict[Any, float]):
    """Number that each cell stands for, in common spellings."""

    def __missing__(self, cell: Any) -> float:
        number = number_in(cell)
        if isinstance(cell, str) and len(cell) < 8 and number != np.inf:
            self[cell] = number
        return number


_NUMBERS = _Numbers()
_WORDS = {"true": 1.0, "false": 0.0, "": np.nan}


def number_in(cell: Any) -> float:
    """Number in a cell of a label file: 1, 0, -1 or NaN; infinite if no encoding knows it.

    Args:
        cell: Text, with ``true``, ``false`` and an empty one for NaN; a number, bool or None.
    """
    if cell is None:
        return np.nan
    try:
        word = cell.strip().lower() if isinstance(cell, str) else cell
        number = _WORDS[word] if word in _WORDS else float(word)
    except (TypeError, ValueError, OverflowError):
        return np.inf
    return number if number in (1, 0, -1) or np.isnan(number) else np.inf


def numbers_in(cells: Sequence[Any]) -> NDArray[np.float32]:
    """Numbers in cells of a label file, float32 ``[cells]``."""
    try:
        return np.fromiter(map(_NUMBERS.__getitem__, cells), np.float32, len(cells))
    except TypeError:  # a list is no key
        return np.fromiter(map(number_in, cells), np.float32, len(cells))


def encode(labels: PartialLabels, encoding: Encoding) -> NDArray[Any]:
    """Encodes labels as numbers; [decode][labelattack.labels.containers.arrays.decode] inverts it.

    Args:
        labels: The labels.
        encoding: Encoding of the result.

    Returns:
        int8 ``[images, labels]``, or float32 for ``nan``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    check_encoding(encoding)
    positive, negative, hidden = CODES[encoding]
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
        raise unknown("label encoding", encoding, CODES)


def _is(array: NDArray[Any], code: float) -> BoolArray:
    return np.asarray(np.isnan(array) if np.isnan(code) else array == code, dtype=np.bool_)
