"""Tables in text files, as spreadsheets and statistics programs write them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from labelattack.files.text import read_text

DELIMITERS = ",;\t"
_FIRST = 100  # rows that tell which of them it is


class Row(NamedTuple):
    """One row: the line of the file that it begins in, from 1, and its cells."""

    line: int
    cells: list[str]


class Delimited(NamedTuple):
    """A table with a header; cells and names are without outer spaces.

    Attributes:
        header: Name of each column.
        rows: The other rows, each as wide as the header; those without any text are left out.
    """

    header: Row
    rows: list[Row]

    def check_header(self) -> None:
        """Raises ValueError unless every column but the first has a name, and one of its own."""
        names = self.header.cells
        unnamed = next((n for n, name in enumerate(names[1:], start=2) if not name), None)
        if unnamed is not None:
            raise self.no_header(f"column {unnamed} has no name")
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise self.no_header(f"'{name}' is there {times} times")

    def column(self, name: str) -> list[str]:
        """The cells of the column of a name.

        Raises:
            ValueError: If there is none.
        """
        if name not in self.header.cells:
            raise self.no_header(f"no column is '{name}'")
        place = self.header.cells.index(name)
        return [row.cells[place] for row in self.rows]

    def no_header(self, reason: str) -> ValueError:
        """The error for a first row that is no header, for the caller to raise."""
        shown = ", ".join(f"'{name}'" for name in self.header.cells[:6])
        more = ", ..." if len(self.header.cells) > 6 else ""
        return ValueError(
            f"line {self.header.line} must be a header that names every column once, got "
            f"{shown}{more}: {reason}"
        )


def read_delimited(path: Path) -> Delimited:
    """Reads a table whose cells are divided by commas, semicolons or tabs.

    The header and the first rows tell which of them it is. The names in it are not checked, see
    [check_header][labelattack.files.delimited.Delimited.check_header].

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not text in UTF-8, holds nothing, is badly quoted, or has a row of
            another width than the header; names the line.
    """
    text = read_text(path)
    rows = _rows(text, max(DELIMITERS, key=lambda sign: _fit(text, sign)))
    header = next(rows, None)
    if header is None:
        raise ValueError("it must begin with a header that names every column, got nothing")
    return Delimited(header, list(_as_wide(rows, len(header.cells))))


def _as_wide(rows: Iterator[Row], width: int) -> Iterator[Row]:
    for row in rows:
        if len(row.cells) != width:
            raise ValueError(
                f"line {row.line} must have {width} cells, got {len(row.cells)} (the header has "
                f"{width})"
            )
        yield row


def _fit(text: str, sign: str) -> tuple[bool, int, int]:
    """How well a delimiter divides the first rows: the greater, the better.

    Best is what divides all rows equally, then what leaves no quotes in the header, then what makes
    many cells.
    """
    rows: list[Row] = []
    try:
        rows.extend(islice(_rows(text, sign), _FIRST))
    except ValueError:
        rows.append(Row(0, []))
    widths = [len(row.cells) for row in rows] or [0]
    quotes = sum(cell.count('"') for cell in rows[0].cells) if widths[0] else len(text)
    return len(set(widths)) == 1 and widths[0] > 1, -quotes, widths[0]


def _rows(text: str, sign: str) -> Iterator[Row]:
    """Every row in which something is written."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True, strict=True
    )
    line = 1
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            # Delimiters of another kind are nothing either, as which it is may not be known yet.
            if any(cell.strip(DELIMITERS) for cell in cells):
                yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} is badly quoted: {error}") from error
