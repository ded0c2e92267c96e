"""Streaming reader for CSV files with a header, such as official lists of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from labelattack.errors import DatasetError
from labelattack.files.delimited import Delimited, Row


def records(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yields the named columns of each row that is not blank; other columns are skipped.

    Args:
        path: CSV in UTF-8, separated by commas, whose first line names the columns.
        columns: Names of the columns to read, in the order in which their fields are given.

    Yields:
        The line of each row, and its fields without outer spaces.

    Raises:
        DatasetError: If the file cannot be read, is not UTF-8, is badly quoted, does not name each
            of the columns once, or has a row whose width differs from the header's.
    """
    try:
        table = Delimited(path, ",")
        places = [_place(table.header, name) for name in columns]
        for line, fields in table.rows():
            yield Row(line, [fields[place].strip() for place in places])
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' must be a CSV with a header: {error}") from error


def _place(header: Row, name: str) -> int:
    """Position of a column that the header names once."""
    if header.fields.count(name) != 1:
        shown = ", ".join(f"'{field}'" for field in header.fields[:6])
        more = ", ..." if len(header.fields) > 6 else ""
        raise ValueError(
            f"line {header.line} must name the column '{name}' once, got {shown}{more}"
        )
    return header.fields.index(name)
