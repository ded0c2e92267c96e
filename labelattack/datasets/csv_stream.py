"""Streaming reader for CSV files with a header, such as official lists of labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from labelattack.errors import DatasetError
from labelattack.files.text import UTF8_BOM, check_utf8_mark, split_lines


class Record(NamedTuple):
    """One row: the number of its first line, from 1, and its fields without outer spaces."""

    line: int
    fields: list[str]


def records(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """Yields the named columns of each row that is not blank; other columns are skipped.

    Args:
        path: CSV in UTF-8, separated by commas, whose first line names the columns.
        columns: Names of the columns to read, in the order in which their fields are given.

    Raises:
        DatasetError: If the file cannot be read, is not UTF-8, is badly quoted, does not name each
            of the columns once, or has a row whose width differs from the header's.
    """
    try:
        with path.open("rb") as file:
            rows = _rows(_texts(file))
            header = next(rows, Record(1, []))
            places = [_place(header, name) for name in columns]
            for row in rows:
                if len(row.fields) != len(header.fields):
                    raise ValueError(
                        f"line {row.line} must have {len(header.fields)} fields as the header, got "
                        f"{len(row.fields)}"
                    )
                yield Record(row.line, [row.fields[place] for place in places])
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' must be a CSV with a header: {error}") from error


def _place(header: Record, name: str) -> int:
    """Position of a column that the header names once."""
    if header.fields.count(name) != 1:
        shown = ", ".join(f"'{field}'" for field in header.fields[:6])
        more = ", ..." if len(header.fields) > 6 else ""
        raise ValueError(
            f"line {header.line} must name the column '{name}' once, got {shown or 'nothing'}{more}"
        )
    return header.fields.index(name)


def _rows(texts: Iterable[str]) -> Iterator[Record]:
    reader = csv.reader(texts, skipinitialspace=True, strict=True)
    line = 1
    try:
        for raw in reader:
            fields = [field.strip() for field in raw]
            if any(fields):
                yield Record(line, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} is badly quoted: {error}") from error


def _texts(file: Iterable[bytes]) -> Iterator[str]:
    """Lines with Unix, Windows or old Mac line ends."""
    number = 0
    for raw in file:
        if not number:
            raw = raw.removeprefix(UTF8_BOM)
            check_utf8_mark(raw)
        try:
            lines = split_lines(raw.decode().rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"it must be UTF-8, got byte 0x{raw[error.start]:02x} at line {number + 1}; save "
                "it as UTF-8"
            ) from error
        number += len(lines)
        yield from lines
