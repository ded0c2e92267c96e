"""Text files from other people: encoding, byte-order mark, lines."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

UTF8_BOM = codecs.BOM_UTF8
_OTHER_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
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
    """Raises ValueError if the content begins with the byte-order mark of UTF-16."""
    if raw.startswith(_OTHER_BOMS):
        raise ValueError("it must be UTF-8, got UTF-16 at line 1; save it as UTF-8")


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
