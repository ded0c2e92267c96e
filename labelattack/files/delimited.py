"""Delimited text files, as spreadsheets and statistics programs write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from labelattack.files.text import check_text

DELIMITERS = ",;\t"
_FIRST = 100  # rows from which the delimiter is detected


class Row(NamedTuple):
    """One row: the number of its first line, from 1, and its fields as they are written."""

    line: int
    fields: list[str]


class Delimited:
    """A table with a header, read row by row.

    Args:
        path: Text file in UTF-8.
        delimiters: Signs that may divide the fields; which one does is detected from the first
            rows.

    Attributes:
        header: Name of each column, stripped of outer spaces; they are not checked here.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not UTF-8 text, or is empty; names the line.
    """

    def __init__(self, path: Path, delimiters: str = DELIMITERS) -> None:
        check_text(path)
        self._path = path
        self._sign = max(delimiters, key=self._fit)
        header = next(self._read(self._sign), None)
        if header is None:
            raise ValueError("it must begin with a header that names every column, got nothing")
        self.header = Row(header.line, list(map(str.strip, header.fields)))

    def rows(self) -> Iterator[Row]:
        """The rows after the header, each as wide as it; blank ones are left out.

        Raises:
            ValueError: If one is badly quoted or of another width; names the line.
        """
        width = len(self.header.fields)
        for row in islice(self._read(self._sign), 1, None):
            if len(row.fields) != width:
                raise ValueError(
                    f"line {row.line} must have {width} cells, got {len(row.fields)} (the header "
                    f"has {width})"
                )
            yield row

    def _fit(self, sign: str) -> tuple[bool, float, int]:
        """Sort key of a delimiter by how well it splits the first rows; greater is better.

        Equal widths count first, then a header without quotes, then the number of fields.
        """
        rows: list[Row] = []
        try:
            rows.extend(islice(self._read(sign), _FIRST))
        except ValueError:
            rows.append(Row(0, []))
        widths = [len(row.fields) for row in rows] or [0]
        quotes = sum(field.count('"') for field in rows[0].fields) if widths[0] else float("inf")
        return len(set(widths)) == 1 and widths[0] > 1, -quotes, widths[0]

    def _read(self, sign: str) -> Iterator[Row]:
        """Rows that are not blank, the header included."""
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=sign, skipinitialspace=True, strict=True)
            line = 1
            try:
                for fields in reader:
                    # Most rows begin with a name: only the others are looked at as a whole.
                    if fields and (_written(fields[0]) or any(map(_written, fields))):
                        yield Row(line, fields)
                    line = reader.line_num + 1
            except csv.Error as error:
                raise ValueError(f"line {line} is badly quoted: {error}") from error


def _written(field: str) -> bool:
    """Whether a field holds anything; delimiters are nothing, while the right one is unknown."""
    return field.strip().strip(DELIMITERS) != ""
