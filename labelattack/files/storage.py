"""Cache folder, path checks, and atomic writes."""

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
    """Cache folder: LABELATTACK_CACHE, else the platform's cache folder.

    Without a home folder, or where it is not writable, a folder of this user among the temporary
    files is used; a warning names it.

    Raises:
        StoreError: If LABELATTACK_CACHE is not a folder and cannot be created.
    """
    chosen = os.environ.get("LABELATTACK_CACHE")
    if not chosen:
        usual = _usual()
        return usual if usual is not None and not _obstacle(usual) else _temporary(usual)
    folder = expanded(chosen)
    # A read-only cache still serves what it holds.
    if not folder.is_dir() and (obstacle := _obstacle(folder)):
        raise StoreError(f"LABELATTACK_CACHE must name a folder, got '{folder}': {obstacle}")
    return folder


def _usual() -> Path | None:
    """The platform's cache folder; None if it would be in a home folder that does not exist."""
    try:
        home, usual = expanded("~"), user_cache_path("labelattack")
    except RuntimeError:  # no HOME, and nobody knows this user
        return None
    lost = not usual.is_absolute() or (home in usual.parents and not home.is_dir())
    return None if lost else usual


def _obstacle(folder: Path) -> str:
    """Reason why a folder cannot be created or written; empty if it can. Creates nothing."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if is_there(path))
        if not there.is_dir():
            return f"'{there}' is no folder"
        return "" if os.access(there, os.W_OK | os.X_OK) else f"'{there}' cannot be written"
    except (OSError, ValueError) as error:
        return str(error)


@cache
def _temporary(usual: Path | None) -> Path:
    """Temporary cache folder, shared by a user's processes unless another user owns it."""
    mine = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"labelattack-{mine}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    try:
        status = folder.lstat()
        private = status.st_uid == mine and not status.st_mode & 0o077
        kept = stat.S_ISDIR(status.st_mode) and private
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
    """A path with ``~`` expanded; ``~name`` of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises for such a user


def absolute(path: str) -> str:
    """Absolute path, with ``~`` expanded; an empty path stays empty."""
    return os.path.abspath(expanded(path)) if path else path  # noqa: PTH100  # links stay


FilePath = Annotated[str, AfterValidator(absolute)]
"""A parameter that is a path; absolute in a resolved spec."""


def path_unless(*words: str) -> AfterValidator:
    """Validator that makes a parameter an absolute path unless it is one of the given words."""
    return AfterValidator(lambda value: value if value in words else absolute(value))


def is_there(path: Path) -> bool:
    """Whether a path exists; False for a path that no file system could hold."""
    return os.path.exists(path)  # noqa: PTH110  # pathlib's raises if it is too long


def is_file(path: Path) -> bool:
    """Whether a path is a file; False for a path that no file system could hold."""
    return os.path.isfile(path)  # noqa: PTH113  # pathlib's raises if it is too long


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to the same file, also through links; it need not exist."""
    try:
        return os.path.samefile(first, second)  # noqa: PTH121  # pathlib's takes the same care
    except (OSError, ValueError):
        return os.path.realpath(first) == os.path.realpath(second)


def check_apart(what: str, path: Path, other: str, against: Path) -> None:
    """Raises StoreError if a file to be written would overwrite another one.

    Args:
        what: Kind of the file to be written, for the message.
        path: Its path.
        other: Kind of the other file.
        against: Path of the other file.
    """
    if same_file(path, against):
        raise StoreError(
            f"{what} must not be written over {other}, got '{path}', which is the same file as "
            f"'{against}'; name another"
        )


PART = ".part-"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Writes a file atomically: readers of ``path`` see the old or the new content.

    The content is flushed to disk when the block ends.

    Args:
        path: File to write; its folder is created if absent. The target of a link is replaced,
            not the link; a special file such as ``/dev/stdout`` is written to directly.

    Yields:
        Temporary path beside ``path``; it is renamed to ``path`` when the block ends, and removed
        if the block raises, also on an interrupt.

    Raises:
        OSError: If it cannot be written.
    """
    if is_there(path) and not (is_file(path) or path.is_dir()):
        yield path
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # No suffix: a leftover of a killed process must not pass for a finished file.
    part = path.with_name(f"{PART}{uuid.uuid4().hex}")
    try:
        yield part
        _to_disk(part)
        part.replace(path)
        _to_disk(path.parent)
    finally:
        # A no-op after the replacement, so no moment leaves a file behind.
        part.unlink(missing_ok=True)


@contextmanager
def saved(path: Path, what: str = "") -> Iterator[Path]:
    """[written_whole][labelattack.files.storage.written_whole], with errors for users.

    Args:
        path: File to write.
        what: Kind of the file, for messages.

    Yields:
        Temporary path to write to.

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


TablePath = Annotated[str, path_unless()]
"""A parameter that is the path of a side table."""
