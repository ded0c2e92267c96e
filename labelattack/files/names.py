"""Names of images and classes, as files give them: text, and which of them are one."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

_DOUBTFUL = ("\\", "//", "/.")


def as_texts(array: NDArray[Any]) -> list[str]:
    """The names in an array of text, UTF-8 bytes or whole numbers, without outer spaces.

    Raises:
        ValueError: If it is no list, or holds something else; names the first such.
    """
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise ValueError(f"names must be a list of text, got {array.dtype} {array.shape}")
    return [_as_text(name) for name in array.tolist()]


def _as_text(name: str | bytes | int) -> str:
    try:
        text = name.decode() if isinstance(name, bytes) else str(name)
        text.encode()
    except UnicodeError as error:
        raise ValueError(f"names must be text in UTF-8, got {name!r}") from error
    return text.strip()


def canonical(name: str) -> str:
    """The one spelling of a file's name: with ``/`` alone, and without ``.`` or empty parts."""
    doubtful = name[:1] == "." or name[-1:] == "/" or any(part in name for part in _DOUBTFUL)
    return posixpath.normpath(name.replace("\\", "/")) if doubtful else name


def repeats(names: Sequence[str]) -> list[tuple[int, int]]:
    """Position of the first mention, and of the later one, of every name that was there before."""
    if len(set(map(canonical, names))) == len(names):
        return []  # as nearly always; where names stand would take more memory than they do
    first: dict[str, int] = {}
    pairs = ((first.setdefault(canonical(name), n), n) for n, name in enumerate(names))
    return [(before, again) for before, again in pairs if before != again]


def repeated(what: str, names: Sequence[str], place: Callable[[int], str]) -> str | None:
    """The message about names that occur more than once; None if each occurs once.

    Args:
        what: What must occur once, e.g. ``"an image"``.
        names: The names.
        place: How to call the place of the name at a position, e.g. ``line 3``.
    """
    found = repeats(names)
    if not found:
        return None
    before, again = found[0]
    return (
        f"{what} must occur once, got '{names[before]}' at {place(before)} and "
        f"'{names[again]}' at {place(again)} ({len({n for n, _ in found})} such)"
    )
