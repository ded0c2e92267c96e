"""Numbers of the names in a label file, and a count of what is wrong with its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown, unknown
from labelattack.files.names import as_text


class Offences:
    """Counts the cells that break a rule, and keeps the first."""

    def __init__(self, rule: str, hint: str = "") -> None:
        self._rule, self._hint = rule, hint
        self._first, self._count = "", 0

    def add(self, got: str, hint: str = "") -> None:
        """Counts a cell; ``got`` names it and its place."""
        if not self._count:
            self._first, self._hint = got, hint or self._hint
        self._count += 1

    def check(self) -> None:
        """Raises LabelError if there was one."""
        if self._count:
            hint = f"; {self._hint}" if self._hint else ""
            raise LabelError(f"{self._rule}, got {self._first} ({self._count} such){hint}")


class Numbering(dict[Any, int]):
    """Number of each name, in the order of their first appearance.

    Args:
        what: Kind of thing that is named, for messages.
        names: The only valid names; None if any name is.
        key: Names with one key are the same.

    Attributes:
        names: Name of each number.
    """

    def __init__(
        self, what: str, names: Iterable[str] | None = None, key: Callable[[str], str] = str
    ) -> None:
        super().__init__()
        self.names = list(names or ())
        self._key, self._closed = key, names is not None
        self._nameless = Offences(f"{what} must have a name, as text or a whole number")
        self._unknown = Offences(f"{what} must be one of the {len(self.names)} listed")
        for number, name in enumerate(self.names):
            self[key(name)] = number

    def __missing__(self, cell: Any) -> int:
        text = as_text(cell)
        number = self.get(self._key(text))
        if number is None:
            if self._closed or not text:
                return -1
            number = len(self.names)
            self.names.append(text)
            self[self._key(text)] = number
        self[cell] = number
        return number

    def of(self, cells: Sequence[Any], place: Callable[[int], str]) -> NDArray[np.int32]:
        """Number of the name in each cell, int32 ``[cells]``; -1 where there is none.

        Args:
            cells: Text, UTF-8 bytes or whole numbers.
            place: Names the place of a cell, for the message of ``check``.
        """
        try:
            numbers = np.fromiter(map(self.__getitem__, cells), np.int32, len(cells))
        except (TypeError, ValueError):
            numbers = np.fromiter(map(self._number, cells), np.int32, len(cells))
        for wrong in np.flatnonzero(numbers < 0).tolist():
            cell = cells[wrong]
            got = f"{_quoted(cell)} at {place(wrong)}"
            if self._closed and (text := _text(cell)):
                near = str(unknown("", text, self.names)).partition("; ")[2]
                self._unknown.add(got, near)
            else:
                self._nameless.add(got)
        return numbers

    def _number(self, cell: Any) -> int:
        try:
            return self[cell]
        except (TypeError, ValueError):
            return -1

    def check(self) -> None:
        """Raises LabelError if a cell named nothing, or nothing that is valid."""
        self._nameless.check()
        self._unknown.check()


def _text(cell: Any) -> str:
    """Name in a cell; empty if there is none."""
    try:
        return as_text(cell)
    except ValueError:
        return ""


def _quoted(cell: Any) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return "none"
    return f"'{cell.strip()}'" if isinstance(cell, str) else shown(cell)
