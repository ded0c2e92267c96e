"""Fast reader for text files of millions of lines that begin with whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import DatasetError
from labelattack.files.text import Line, skip_utf8_mark

_CHUNK = 1 << 22  # bytes that are parsed at a time
_DIGITS = 9  # of the largest number


class NumberLines(NamedTuple):
    """The lines that are not blank.

    Attributes:
        lines: Number of each line in the file, from 1, int32 ``[lines]``.
        numbers: Its first numbers, int32 ``[lines, count]``.
    """

    lines: NDArray[np.int32]
    numbers: NDArray[np.int32]


def leading_numbers(path: Path, count: int) -> NumberLines:
    """Reads the first numbers of each line; further fields are skipped.

    The file is parsed as arrays of bytes, a few MiB at a time.

    Args:
        path: Text file whose fields are separated by spaces or tabs.
        count: Number of fields to read, whole numbers from 0 of at most nine digits.

    Raises:
        DatasetError: If the file cannot be read, or a line has fewer fields or another text in
            them; names the first such line and their number.
    """
    parts: list[NumberLines] = []
    first: Line | None = None
    bad, before = 0, 0
    try:
        with path.open("rb") as file:
            skip_utf8_mark(file)
            while content := file.read(_CHUNK) + file.readline():
                part, illegal = _parsed(content, count)
                if len(illegal) and first is None:
                    text = content.split(b"\n")[illegal[0]].decode("utf-8", "replace").strip()
                    first = Line(before + int(illegal[0]) + 1, text)
                bad += len(illegal)
                parts.append(NumberLines(part.lines + np.int32(before + 1), part.numbers))
                before += content.count(b"\n")
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' cannot be read: {error}") from error
    if first is not None:
        raise DatasetError(
            f"'{path}' must begin each line with {count} whole numbers, got {first} ({bad} such)"
        )
    if not any(len(part.lines) for part in parts):
        raise DatasetError(f"'{path}' must begin each line with {count} whole numbers, got none")
    return NumberLines(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _parsed(content: bytes, count: int) -> tuple[NumberLines, NDArray[np.int64]]:
    """Numbers of some lines, counted from 0, and which of these lines are illegal."""
    raw = np.frombuffer(content, dtype=np.uint8)
    ink = raw > ord(" ")
    edges = np.flatnonzero(np.diff(ink, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    line = np.searchsorted(np.flatnonzero(raw == ord("\n")), starts)
    heads = np.flatnonzero(np.diff(line, prepend=-1))  # first field of each line
    legal = np.diff(heads, append=len(starts)) >= count
    fields = np.minimum(heads[:, None] + np.arange(count), len(starts) - 1)
    begin, length = starts[fields], (ends - starts)[fields]
    legal &= (length <= _DIGITS).all(axis=1)
    numbers = np.zeros(fields.shape, dtype=np.int32)
    for place in range(min(int(length.max(initial=0)), _DIGITS)):
        inside = place < length
        digit = raw[np.minimum(begin + place, len(raw) - 1)] - np.uint8(ord("0"))
        legal &= (~inside | (digit <= 9)).all(axis=1)
        numbers = np.where(inside, numbers * np.int32(10) + digit, numbers)
    lines = line[heads]
    return NumberLines(lines.astype(np.int32), numbers.astype(np.int32)), lines[~legal]
