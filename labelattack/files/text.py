"""Text files from other people: encoding, byte-order mark, lines."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

UTF8_BOM = codecs.BOM_UTF8
_OTHER_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK = 1 << 20
_LINE_END = re.compile(r"\r\n?|\n")


class Line(NamedTuple):
    """One line: its number in the file, from 1, and its stripped text."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number}: '{self.text}'"


def read_text(path: Path) -> str:
    """Reads a UTF-8 file, with or without a byte-order mark.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not UTF-8 text; names the line.
    """
    check_text(path)
    return path.read_bytes().removeprefix(UTF8_BOM).decode("utf-8")


def check_text(path: Path) -> None:
    """Checks block by block that a file of any size is UTF-8 text.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not UTF-8 text; names the line.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    line, last = 1, b""
    with path.open("rb") as file:
        check_utf8_mark(start := file.read(_BLOCK))
        block = start.removeprefix(UTF8_BOM)
        while True:
            try:
                decode(block, final=not block)
            except UnicodeDecodeError as error:
                # What is kept of the block before holds no line end: it begins a character.
                wrong, before = error.object[error.start], error.object[: error.start]
                raise ValueError(
                    f"it must be UTF-8, got byte 0x{wrong:02x} at line "
                    f"{line + _line_ends(before, last)}; save it as UTF-8"
                ) from error
            if not block:
                return
            if (zero := block.find(0)) >= 0:
                raise ValueError(
                    f"it must be text, got a zero byte at line "
                    f"{line + _line_ends(block[:zero], last)}; if it is UTF-16, save it as UTF-8"
                )
            line, last = line + _line_ends(block, last), block[-1:]
            block = file.read(_BLOCK)


def _line_ends(block: bytes, last: bytes) -> int:
    """Line ends in a block, of which the first half of one may be the byte before it."""
    return block.count(b"\n") + block.count(b"\r") - (last + block).count(b"\r\n")


def check_utf8_mark(raw: bytes) -> None:
    """Raises ValueError if the content begins with the byte-order mark of UTF-16."""
    if raw.startswith(_OTHER_BOMS):
        raise ValueError("it must be UTF-8, got UTF-16 at line 1; save it as UTF-8")


def skip_utf8_mark(file: BinaryIO) -> None:
    """Skips the byte-order mark of a file that was just opened, if it has one.

    Raises:
        ValueError: If it is that of UTF-16.
    """
    start = file.read(len(UTF8_BOM))
    check_utf8_mark(start)
    if start != UTF8_BOM:
        file.seek(0)


def line_of(before: str) -> int:
    """Line number, from 1, of the end of a text."""
    return len(_LINE_END.findall(before)) + 1


def split_lines(text: str) -> list[str]:
    """Lines of a text with Unix, Windows or old Mac line ends, blank ones included."""
    return _LINE_END.split(text)


def written_lines(path: Path) -> list[Line]:
    """Lines of a UTF-8 file that are not blank.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not UTF-8 text; names the line.
    """
    lines = enumerate(map(str.strip, split_lines(read_text(path))), start=1)
    return [Line(number, text) for number, text in lines if text]
