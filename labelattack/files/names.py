"""Names of images and classes in files: conversion to text, canonical form, duplicates."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from labelattack.errors import LabelError, shown

_DOUBTFUL = ("\\", "//", "/.")


def as_texts(array: NDArray[Any]) -> list[str]:
    """The names in an array of text, UTF-8 bytes or whole numbers, without outer spaces.

    Raises:
        ValueError: If it is not a list, or holds anything else; names the first such item.
    """
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise ValueError(f"names must be a list of text, got {array.dtype} {array.shape}")
    return [as_text(name) for name in array.tolist()]


def as_text(name: object) -> str:
    """A name given as text, UTF-8 bytes or a whole number, without outer spaces.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(name, bool) or not isinstance(name, str | bytes | int):
        raise ValueError(f"names must be text or whole numbers, got {shown(name)}")
    try:
        text = name.decode() if isinstance(name, bytes) else str(name)
        text.encode()
    except UnicodeError as error:
        raise ValueError(f"names must be text in UTF-8, got {name!r}") from error
    return text.strip()


def canonical(name: str) -> str:
    """Canonical form of a file name: ``/`` as separator, no ``.`` and no empty parts."""
    doubtful = name[:1] == "." or name[-1:] == "/" or any(part in name for part in _DOUBTFUL)
    return posixpath.normpath(name.replace("\\", "/")) if doubtful else name


def repeats(names: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of duplicate names, as pairs of the first occurrence and a later one."""
    if len(set(map(canonical, names))) == len(names):
        return []  # the usual case; a dict of positions would take more memory than the names
    first: dict[str, int] = {}
    pairs = ((first.setdefault(canonical(name), n), n) for n, name in enumerate(names))
    return [(before, again) for before, again in pairs if before != again]


def repeated(what: str, names: Sequence[str], place: Callable[[int], str]) -> str | None:
    """Error message on duplicate names; None if each name occurs once.

    Args:
        what: Kind of thing that must occur once, e.g. ``"an image"``.
        names: The names.
        place: Names the place of a position, e.g. ``line 3``.
    """
    duplicates = repeats(names)
    if not duplicates:
        return None
    before, again = duplicates[0]
    return (
        f"{what} must occur once, got '{names[before]}' at {place(before)} and "
        f"'{names[again]}' at {place(again)} ({len({n for n, _ in duplicates})} such)"
    )


def check_names(
    ids: Sequence[str], classes: Sequence[str], row: Callable[[int], str] = "row {}".format
) -> None:
    """Raises LabelError unless every image and every class has a unique, non-empty name.

    Args:
        ids: Name of each image.
        classes: Name of each class.
        row: Names the place of an image in messages.
    """
    columns = "column {}".format
    for what, names, place in (("an image", ids, row), ("a class", classes, columns)):
        if "" in names:
            raise LabelError(f"{what} must have a name, got none at {place(names.index(''))}")
        message = repeated(what, names, place)
        if message:
            raise LabelError(message)
