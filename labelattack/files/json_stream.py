"""Streaming reader for JSON files too large for memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from labelattack.files.text import skip_utf8_mark

DEEPEST = 100
"""Deepest nesting of arrays and objects; COCO has seven levels."""
_STEPS = np.zeros(256, dtype=np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def elements(path: Path, prefix: str, objects: type[dict[str, Any]] = dict) -> Iterator[Any]:
    """Yields the elements of one array.

    Args:
        path: The file.
        prefix: Path of the elements as ijson writes it: ``item`` for a file that is an array,
            ``annotations.item`` for a key of an object.
        objects: Type of the objects in it.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON, or is nested too deeply.
    """
    import ijson

    with _opened(path) as file:
        yield from ijson.items(file, prefix, use_float=True, map_type=objects)


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields keys and values of a file that is an object, repeated keys too.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON, or is nested too deeply.
    """
    import ijson

    with _opened(path) as file:
        yield from ijson.kvitems(file, "", use_float=True)


def top_level(path: Path) -> list[str] | None:
    """Keys of a file that is an object, duplicates included; None if it is an array.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON, is nested too deeply, or is neither.
    """
    import ijson

    with _opened(path) as file:
        events = ijson.parse(file)
        _, kind, _ = next(events, ("", "nothing", None))
        if kind == "start_array":
            return None
        if kind != "start_map":
            raise ValueError(f"it must be a list of records or an object of columns: {kind}")
        return [key for prefix, event, key in events if event == "map_key" and not prefix]


@contextmanager
def _opened(path: Path) -> Iterator[_Shallow]:
    """The file after its byte-order mark; errors of the parser are ValueErrors."""
    import ijson

    with path.open("rb") as file:
        skip_utf8_mark(file)
        try:
            yield _Shallow(file)
        except (OverflowError, ijson.JSONError) as error:
            raise ValueError(str(error)) from error


class _Shallow:
    """Bounds the nesting depth of a file: the parser's time grows with its square."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._depth = 0
        self._in_text = False
        self._escape = b""

    def read(self, size: int = -1) -> bytes:
        """Reads the next bytes.

        Raises:
            ValueError: If they are nested too deeply.
        """
        chunk = self._file.read(size)
        self._follow(chunk)
        return chunk

    def _follow(self, chunk: bytes) -> None:
        text = self._escape + chunk
        self._escape = b""
        if b"\\" in text:
            text = re.sub(rb"\\.", b"", text, flags=re.DOTALL)
            if text.endswith(b"\\"):
                text, self._escape = text[:-1], b"\\"
        raw = np.frombuffer(text, dtype=np.uint8)
        places = np.flatnonzero(_STEPS[raw])
        quotes = np.searchsorted(np.flatnonzero(raw == ord('"')), places) + self._in_text
        steps = _STEPS[raw[places]][quotes % 2 == 0]  # brackets outside strings
        self._in_text ^= text.count(b'"') % 2 == 1
        depths = self._depth + np.cumsum(steps)
        if len(depths):
            self._depth = int(depths[-1])
            if depths.max() > DEEPEST:
                raise ValueError(f"it must not be nested deeper than {DEEPEST} levels")
