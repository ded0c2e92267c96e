"""Text files that other people wrote."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

UTF8_BOM = codecs.BOM_UTF8
_OTHER_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LINE_END = re.compile(r"\r\n?|\n")


class Line(NamedTuple):
    """One line: its number in the file, from 1, and its text without outer spaces."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number}: '{self.text}'"


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte-order mark that some programs put first.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text in UTF-8; names the line.
    """
    raw = path.read_bytes().removeprefix(UTF8_BOM)
    check_utf8_mark(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it must be UTF-8, got byte 0x{raw[error.start]:02x} at line "
            f"{line_of(raw[: error.start].decode('latin-1'))}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"it must be text, got a zero byte at line {line_of(text[: text.index(chr(0))])}; "
            "if it is UTF-16, save it as UTF-8"
        )
    return text


def check_utf8_mark(raw: bytes) -> None:
    """Raises ValueError if a file begins with the byte-order mark of UTF-16."""
    if raw.startswith(_OTHER_BOMS):
        raise ValueError("it must be UTF-8, got UTF-16 at line 1; save it as UTF-8")


def line_of(before: str) -> int:
    """Number of the line, from 1, that some text before a place ends in."""
    return len(_LINE_END.findall(before)) + 1


def split_lines(text: str) -> list[str]:
    """The lines of a text, whichever system's line ends it has, blank ones included."""
    return _LINE_END.split(text)


def written_lines(path: Path) -> list[Line]:
    """The lines of a UTF-8 file that are not blank.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text in UTF-8; names the line.
    """
    lines = enumerate(map(str.strip, split_lines(read_text(path))), start=1)
    return [Line(number, text) for number, text in lines if text]
