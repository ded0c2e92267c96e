"""Layout of tables on a terminal: no word is broken while there is room for it.

Texts may wrap between words, never within one. Where the columns have not that much room, each row
becomes a block of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from textwrap import wrap

from rich.cells import cell_len

_WORD = re.compile(r"\S+")
_WITH_INTERVAL = re.compile(r"\S+(?: ± \S+)*")


def column_widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], room: int, *, rigid: int = 0
) -> list[int] | None:
    """Widths of the columns of a table; None if a word would have to be broken.

    Args:
        columns: Headings.
        rows: Texts of the cells.
        room: Characters for all columns together.
        rigid: The first so many columns do not wrap at all, if there is room for that; and a number
            stays on the line of its interval, if there is.
    """
    cells = list(zip(columns, *rows, strict=True))
    widest = [max(map(_longest_line, column)) for column in cells]
    whole = [max(_longest(_WITH_INTERVAL, text) for text in column) for column in cells]
    words = [max(_longest(_WORD, text) for text in column) for column in cells]
    wanted = ([*widest[:rigid], *whole[rigid:]], whole, words)
    least = next((widths for widths in wanted if sum(widths) <= room), None)
    if least is None:
        return None
    # The widest columns give way first, down to a common width or to their longest word.
    common = max(widest)
    while sum(_within(common, least, widest)) > room:
        common -= 1
    widths = _within(common, least, widest)
    for number, width in enumerate(widths):
        spare = room - sum(widths)
        widths[number] = min(width + spare, widest[number])
    return widths


def _within(common: int, least: list[int], most: list[int]) -> list[int]:
    return [min(max(common, low), high) for low, high in zip(least, most, strict=True)]


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _longest(word: re.Pattern[str], text: str) -> int:
    return max(map(cell_len, word.findall(text)), default=0)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of a text of at most some characters; only a longer word is broken."""
    for line in text.splitlines():
        yield from wrap(line, width, break_on_hyphens=False)


def stacked(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lines of a table as a block for each row; an empty first cell repeats the one above.

    Args:
        columns: Headings.
        rows: Texts of the cells; empty ones are left out.
        width: Characters of a line; only a longer word is broken.
    """
    margin = max(map(cell_len, columns), default=0) + 2
    filled = [list(row) for row in rows]
    for above, row in pairwise(filled):
        row[:1] = row[:1] if row[0] else above[:1]
    for row in filled:
        for heading, text in zip(columns, row, strict=True):
            lead = heading + " " * (margin - cell_len(heading))
            for line in wrapped(text, max(width - margin, 10)):
                yield lead + line
                lead = " " * margin
        yield ""
