"""Standard streams that take every text, and log lines on them."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from labelattack.errors import LabelAttackError, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MARKS = str.maketrans(
    {
        "±": "+-", "·": "-", "•": "-", "×": "x", "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-",
        "…": "...", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "←": "<-", "‘": "'",
        "’": "'", "“": '"', "”": '"', "\u00a0": " ", "✓": "x", "✗": "-",
        **dict.fromkeys("─━╌╍═╸╺╴╶", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╞╡╪┏┓┗┛┡┩╇", "+"),
        **dict.fromkeys("█▌▐▀▄░▒▓", "#"),
    }
)  # fmt: skip
_ERRORS = "labelattack-marks"
_ASCII = "ascii-marks"


def prepare_streams() -> None:
    """Makes printing safe: no text, encoding, closed stream or broken pipe ends a command.

    Characters that the encoding lacks are written as ASCII marks (``±`` as ``+-``) or escapes. A
    closed stream becomes the null device. A standard output that cannot be written, for instance
    because the disk is full, raises LabelAttackError once.
    """
    codecs.register_error(_ERRORS, _marked)
    codecs.register(_ascii)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, _null())
        elif name != "stdin":
            setattr(sys, name, _lenient(stream, "" if name == "stderr" else "standard output"))


def json_for(stream: TextIO, text: str) -> str:
    """Equivalent JSON that the encoding of a stream can hold."""
    return text if (stream.encoding or "").lower().startswith("utf") else _escaped(text)


class LogLines(logging.Handler):
    """Log handler that writes each message of the package as one plain line.

    Args:
        write: Takes a line; standard error by default.
    """

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self._write = write or _to_stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the message, after its level unless that is information."""
        try:
            level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
            self._write(f"{level}{printable(record.getMessage())}")
        except Exception:  # logging must not end the work that it tells of
            self.handleError(record)


def start_log(level: int, write: Callable[[str], object] | None = None) -> Callable[[], None]:
    """Shows what the package logs from some level on; the root logger is left alone.

    Args:
        level: Least level that is shown, a number of ``logging``.
        write: Takes a line; standard error by default.

    Returns:
        A function that puts the logger back as it was.
    """
    logger, handler = logging.getLogger("labelattack"), LogLines(write)
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)

    def stop() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)

    return stop


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


class _Outlet(io.FileIO):
    """Raw output on a file descriptor; raises at most once, and never for a broken pipe.

    Args:
        descriptor: File descriptor; stays open.
        what: Name in the message; empty where nobody is left to read one.
    """

    def __init__(self, descriptor: int, what: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._what = what
        self._lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes the data.

        Raises:
            LabelAttackError: The first time that writing fails.
        """
        if not self._lost:
            try:
                return super().write(data)
            except OSError as error:
                self._lost = True
                if self._what and not isinstance(error, BrokenPipeError):
                    raise LabelAttackError(f"{self._what} cannot be written: {error}") from error
        return memoryview(data).nbytes


def _null() -> TextIO:
    # The lowest free descriptor, so the one that was closed: a file that is opened later must not
    # become the standard output of a library or of a process that is started.
    descriptor = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(descriptor, descriptor <= 2)
    return os.fdopen(descriptor, "r+" if descriptor == 0 else "w", encoding="utf-8", errors=_ERRORS)


def _lenient(stream: Any, what: str) -> Any:
    """The stream made safe; a replacement by a test or a notebook stays as it is."""
    if not hasattr(stream, "reconfigure"):
        return stream
    ascii = codecs.lookup(stream.encoding).name == "ascii"
    encoding = _ASCII if ascii else stream.encoding
    buffer = stream.buffer
    if not isinstance(getattr(buffer, "raw", buffer), io.FileIO):
        stream.reconfigure(encoding=encoding, errors=_ERRORS)
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Outlet(stream.fileno(), what)),
        encoding=encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return _escaped(lost.translate(_MARKS)), error.end


def _escaped(text: str) -> str:
    """Text in ASCII; other characters as JSON escapes, so that JSON stays valid."""
    return "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)


def _ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII codec under another name: Click writes UTF-8 to a stream called ASCII."""
    if name.replace("_", "-") != _ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode, known.decode, known.streamreader, known.streamwriter,
        known.incrementalencoder, known.incrementaldecoder, name=_ASCII,
    )  # fmt: skip
