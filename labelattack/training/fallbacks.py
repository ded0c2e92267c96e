"""Reasons why a fast path was given up: each logged once, and kept in the record."""

from __future__ import annotations

import logging
from functools import cache

from labelattack.errors import LabelAttackError

_log = logging.getLogger("labelattack")


def told(consequence: str, error: BaseException | None) -> str:
    """Line that names the slower way taken and the reason; logged as a warning the first time.

    Args:
        consequence: The slower way.
        error: Exception raised on the fast path.

    Returns:
        The line, of bounded length.
    """
    reason = f"{type(error).__name__}: {error}" if error is not None else "unknown"
    line = str(LabelAttackError(f"{consequence}, as the fast path failed: {reason}"))
    _warn(line)
    return line


@cache
def _warn(line: str) -> None:
    _log.warning(line)
