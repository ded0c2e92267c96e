"""Where things computed once are kept on disk, and how they are written."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from labelattack.errors import StoreError


def cache_folder() -> Path:
    """Folder of what is computed once: LABELATTACK_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("LABELATTACK_CACHE")
    return expanded(chosen) if chosen else user_cache_path("labelattack")


def expanded(path: str) -> Path:
    """A path with ``~`` replaced; that of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises for such a user


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
    """[written_whole][labelattack.storage.written_whole], for files that users ask for.

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
