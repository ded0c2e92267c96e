"""Delimited text files, as spreadsheets and statistics programs write them."""

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
_FIRST = 100  # rows from which the delimiter is detected


class Row(NamedTuple):
    """One row: the number of its first line, from 1, and its fields."""

    line: int
    fields: list[str]


class Delimited(NamedTuple):
    """A table with a header; fields and names are stripped of outer spaces.

    Attributes:
        header: Name of each column.
        rows: The other rows, each as wide as the header; blank ones are left out.
    """

    header: Row
    rows: list[Row]

    def check_header(self) -> None:
        """Raises ValueError unless every column but the first has a name, and all differ."""
        names = self.header.fields
        unnamed = next((n for n, name in enumerate(names[1:], start=2) if not name), None)
        if unnamed is not None:
            raise self.no_header(f"column {unnamed} has no name")
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise self.no_header(f"'{name}' is there {times} times")

    def column(self, name: str) -> list[str]:
        """Fields of the named column.

        Raises:
            ValueError: If there is no such column.
        """
        if name not in self.header.fields:
            raise self.no_header(f"no column is '{name}'")
        place = self.header.fields.index(name)
        return [row.fields[place] for row in self.rows]

    def no_header(self, reason: str) -> ValueError:
        """Builds the error for a first row that is not a header, for the caller to raise."""
        shown = ", ".join(f"'{name}'" for name in self.header.fields[:6])
        more = ", ..." if len(self.header.fields) > 6 else ""
        return ValueError(
            f"line {self.header.line} must be a header that names every column once, got "
            f"{shown}{more}: {reason}"
        )


def read_delimited(path: Path) -> Delimited:
    """Reads a table separated by commas, semicolons or tabs.

    The delimiter is detected from the first rows. Column names are not checked here, see
    [check_header][labelattack.files.delimited.Delimited.check_header].

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not UTF-8 text, is empty, is badly quoted, or has a row whose width
            differs from the header's; names the line.
    """
    text = read_text(path)
    rows = _rows(text, max(DELIMITERS, key=lambda sign: _fit(text, sign)))
    header = next(rows, None)
    if header is None:
        raise ValueError("it must begin with a header that names every column, got nothing")
    return Delimited(header, list(_as_wide(rows, len(header.fields))))


def _as_wide(rows: Iterator[Row], width: int) -> Iterator[Row]:
    for row in rows:
        if len(row.fields) != width:
            raise ValueError(
                f"line {row.line} must have {width} cells, got {len(row.fields)} (the header has "
                f"{width})"
            )
        yield row


def _fit(text: str, sign: str) -> tuple[bool, int, int]:
    """Sort key of a delimiter by how well it splits the first rows; greater is better.

    Equal widths count first, then a header without quotes, then the number of fields.
    """
    rows: list[Row] = []
    try:
        rows.extend(islice(_rows(text, sign), _FIRST))
    except ValueError:
        rows.append(Row(0, []))
    widths = [len(row.fields) for row in rows] or [0]
    quotes = sum(field.count('"') for field in rows[0].fields) if widths[0] else len(text)
    return len(set(widths)) == 1 and widths[0] > 1, -quotes, widths[0]


def _rows(text: str, sign: str) -> Iterator[Row]:
    """Rows that are not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True, strict=True
    )
    line = 1
    try:
        for raw in reader:
            fields = [field.strip() for field in raw]
            # A row of other delimiters is blank too: the delimiter may not be known yet.
            if any(field.strip(DELIMITERS) for field in fields):
                yield Row(line, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} is badly quoted: {error}") from error
