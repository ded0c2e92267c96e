"""Labels that came in a container, and what all kinds of containers share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown
from labelattack.files.names import as_text
from labelattack.labels.encoding import Decoder, Encoding, check_encoding
from labelattack.labels.partial import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray

_OPTION = "; labels_encoding= says which"
_ROOM: dict[str, Encoding] = {"i": "missing", "f": "nan"}
"""How numbers of a kind say that a label is hidden, unless told otherwise."""


@dataclass(frozen=True)
class Contained:
    """Labels that came in a container.

    Attributes:
        labels: The labels.
        what: The container in words, for messages.
        encoding: Encoding in which such a container says what is hidden, unless told otherwise;
            None if it has no room for that.
        write: Puts labels into a container of the same kind, in an encoding.
        choices: Where there is no room, why, and which encodings make some.
        has_codes: Whether it holds codes at all.
    """

    labels: PartialLabels
    what: str
    encoding: Encoding | None
    write: Callable[[PartialLabels, Encoding], Any]
    choices: str = ""
    has_codes: bool = True

    def encoding_of(self, asked: Encoding | None, *, hides: bool) -> Encoding:
        """Encoding of a container of other labels.

        Args:
            asked: The one that is asked for; None for that of the kind of container.
            hides: Whether entries may be hidden that were known.

        Raises:
            LabelError: If there is no room for hidden ones, and none is asked for.
            UnknownNameError: If there is no such encoding.
        """
        if asked is not None:
            check_encoding(asked)
            if not self.has_codes:
                raise LabelError(f"encoding must be left out for {self.what}, got '{asked}'")
            return asked
        if self.encoding is not None:
            return self.encoding
        if not hides:
            return "binary"
        raise LabelError(f"encoding must be given for {self.what}, {self.choices}")


def room_of(kind: str, encoding: Encoding | None) -> Encoding | None:
    """Encoding of numbers of a kind, unless told otherwise; None if they have no hidden state.

    Args:
        kind: NumPy's letter for the kind.
        encoding: That of the numbers that came.
    """
    return _ROOM.get(kind) if encoding in (None, "binary") else encoding


def texts_of(what: str, names: Sequence[Any]) -> list[str]:
    """Names as text.

    Args:
        what: Argument that they were given as, for the message.
        names: The names.

    Raises:
        LabelError: If they are no list of text or whole numbers.
    """
    if isinstance(names, str | bytes):
        raise LabelError(f"{what} must be a list of names, got {shown(names)}")
    try:
        return [as_text(in_python(name)) for name in names]
    except ValueError as error:
        raise LabelError(f"{what}: {error}") from error


def in_python(name: Any) -> Any:
    """A number or text of NumPy as one of Python; anything else unchanged."""
    return name.item() if isinstance(name, np.generic) else name


def entries_of(
    numbers: NDArray[Any], encoding: Encoding | None, place: Callable[..., str]
) -> tuple[BoolArray, BoolArray]:
    """Which numbers say that a label is positive, and which that it is known.

    Args:
        numbers: Numbers of any shape.
        encoding: Their encoding; None for 1 and 0, with NaN for unknown.
        place: Names the place of a number by its position.

    Raises:
        LabelError: If the encoding does not know a number; names it.
    """
    decoder = Decoder(encoding or ("nan" if numbers.dtype.kind == "f" else "binary"))
    found = decoder.decode(numbers, lambda *at: f"{numbers[at]:g} at {place(*at)}")
    decoder.check(option="" if encoding else _OPTION)
    return found


def of_entries(
    shape: tuple[int, int],
    rows: IntArray,
    columns: IntArray,
    states: tuple[BoolArray, BoolArray],
    encoding: Encoding | None,
) -> PartialLabels:
    """Labels of which some entries are listed, and all others have the code 0.

    Args:
        shape: Number of images and number of labels.
        rows: Image of each listed entry, int ``[listed]``; none is listed twice.
        columns: Class of each, likewise.
        states: Which are positive, and which are known, bool ``[listed]`` each.
        encoding: Encoding of the codes; None for 1 and 0.
    """
    positive, known = states
    if encoding == "signed":
        return PartialLabels.from_entries(shape, rows[known], columns[known], positive[known])
    values, observed = np.zeros(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
    values[rows, columns], observed[rows, columns] = positive, known
    if known.all():
        return PartialLabels.full(values, copy=False)
    return PartialLabels(values, observed)


def is_a(y: Any, library: str, name: str) -> bool:
    """Whether something is of a class of a library; without importing that."""
    module = sys.modules.get(library)
    return module is not None and isinstance(y, getattr(module, name))
