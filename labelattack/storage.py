"""Where things computed once are kept on disk, and how they are written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Folder of what is computed once: LABELATTACK_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("LABELATTACK_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("labelattack")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Writes a file whole or not at all; whoever reads ``path`` sees the old or the new one.

    Args:
        path: The file to be; its folder is created if absent.

    Yields:
        Where to write: beside ``path``, which takes its place when the block ends. If it ends
        by an exception, an interrupt included, nothing of it is left.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # No suffix: what a killed process leaves is not taken for a finished file.
    part = path.with_name(f".part-{uuid.uuid4().hex}")
    try:
        yield part
        part.replace(path)
    finally:
        # After the replacement there is nothing to remove, so no moment leaves something behind.
        part.unlink(missing_ok=True)
