"""Where things computed once are kept on disk, and how they are written."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Annotated

from platformdirs import user_cache_path
from pydantic import AfterValidator

from labelattack.errors import StoreError


def cache_folder() -> Path:
    """Folder of what is computed once: LABELATTACK_CACHE, else the platform's cache folder.

    Without a home folder, or where nothing can be written there, it is a folder of this user among
    the temporary files; a warning names it.

    Raises:
        StoreError: If LABELATTACK_CACHE names what is no folder and cannot become one.
    """
    chosen = os.environ.get("LABELATTACK_CACHE")
    if not chosen:
        usual = _usual()
        return usual if usual is not None and not _obstacle(usual) else _temporary(usual)
    folder = expanded(chosen)
    # One that can only be read still serves who wants nothing new.
    if not folder.is_dir() and (obstacle := _obstacle(folder)):
        raise StoreError(f"LABELATTACK_CACHE must name a folder, got '{folder}': {obstacle}")
    return folder


def _usual() -> Path | None:
    """The platform's cache folder; None where it would be in a home folder that is not there."""
    try:
        home, usual = expanded("~"), user_cache_path("labelattack")
    except RuntimeError:  # no HOME, and nobody knows this user
        return None
    lost = not usual.is_absolute() or (home in usual.parents and not home.is_dir())
    return None if lost else usual


def _obstacle(folder: Path) -> str:
    """Why a folder cannot be made or written; empty if it can. Nothing is made."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if is_there(path))
        if not there.is_dir():
            return f"'{there}' is no folder"
        return "" if os.access(there, os.W_OK | os.X_OK) else f"'{there}' cannot be written"
    except (OSError, ValueError) as error:
        return str(error)


@cache
def _temporary(usual: Path | None) -> Path:
    """The same folder in every process of a user, unless somebody else has made it theirs."""
    mine = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"labelattack-{mine}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
        kept = stat.S_ISDIR(found.st_mode) and found.st_uid == mine and not found.st_mode & 0o077
    except OSError:
        kept = False
    if not kept:
        folder = Path(tempfile.mkdtemp(prefix="labelattack-"))
    if parent_process() is None:
        reason = "there is no home folder" if usual is None else f"'{usual}' cannot be written"
        warnings.warn(
            f"{reason}, so what is computed once is kept in '{folder}'; LABELATTACK_CACHE names "
            "another folder",
            stacklevel=3,
        )
    return folder


def expanded(path: str) -> Path:
    """A path with ``~`` replaced; that of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises for such a user


def absolute(path: str) -> str:
    """A path from the root, with ``~`` replaced, which means the same in any folder; or nothing."""
    return os.path.abspath(expanded(path)) if path else path  # noqa: PTH100  # links stay


FilePath = Annotated[str, AfterValidator(absolute)]
"""A parameter that is a path; a resolved spec holds it from the root."""


def path_unless(*words: str) -> AfterValidator:
    """Makes a parameter a path unless it is one of some words."""
    return AfterValidator(lambda value: value if value in words else absolute(value))


def is_there(path: Path) -> bool:
    """Whether a path exists; one that no file system could hold does not."""
    return os.path.exists(path)  # noqa: PTH110  # pathlib's raises if it is too long


def is_file(path: Path) -> bool:
    """Whether a path is a file; one that no file system could hold is not."""
    return os.path.isfile(path)  # noqa: PTH113  # pathlib's raises if it is too long


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, over links too; it need not be there."""
    try:
        return os.path.samefile(first, second)  # noqa: PTH121  # pathlib's takes the same care
    except (OSError, ValueError):
        return os.path.realpath(first) == os.path.realpath(second)


def check_apart(what: str, path: Path, other: str, against: Path) -> None:
    """Raises StoreError if what is to be written would take the place of another file.

    Args:
        what: What is to be written, for the message.
        path: Where to.
        other: What the other file is.
        against: Where that is.
    """
    if same_file(path, against):
        raise StoreError(
            f"{what} must not be written over {other}, got '{path}', which is the same file as "
            f"'{against}'; name another"
        )


PART = ".part-"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Writes a file whole or not at all; whoever reads ``path`` sees the old or the new one.

    It is on the disk, and not only in its cache, when the block has ended.

    Args:
        path: The file to be; its folder is created if absent. What a link leads to is replaced,
            not the link; what is no file, such as ``/dev/stdout``, is written to as it is.

    Yields:
        Where to write: beside ``path``, which takes its place when the block ends. If it ends
        by an exception, an interrupt included, nothing of it is left.

    Raises:
        OSError: If it cannot be written.
    """
    if is_there(path) and not (is_file(path) or path.is_dir()):
        yield path
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # No suffix: what a killed process leaves is not taken for a finished file.
    part = path.with_name(f"{PART}{uuid.uuid4().hex}")
    try:
        yield part
        _to_disk(part)
        part.replace(path)
        _to_disk(path.parent)
    finally:
        # After the replacement there is nothing to remove, so no moment leaves something behind.
        part.unlink(missing_ok=True)


@contextmanager
def saved(path: Path, what: str = "") -> Iterator[Path]:
    """[written_whole][labelattack.files.storage.written_whole], for files that users ask for.

    Args:
        path: The file to be.
        what: What it is, for messages.

    Yields:
        Where to write.

    Raises:
        StoreError: If it cannot be written, for instance because the disk is full.
    """
    try:
        with written_whole(path) as part:
            yield part
    except OSError as error:
        full = "the disk is full; free some space and run the same command to go on"
        reason = full if error.errno == errno.ENOSPC else error
        raise StoreError(f"{what} '{path}' cannot be written: {reason}".lstrip()) from error


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows does not open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
