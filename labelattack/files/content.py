"""Content hashes of files, cached by size, times and inode."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from labelattack.files.storage import cache_folder, written_whole

_FILES_AT_ONCE = 512
# A file changed again within a tick of the clock keeps its times; git allows for the same.
_TICK = 2_000_000_000  # nanoseconds; FAT counts two seconds


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    Raises:
        OSError: If it cannot be read.
    """
    return content_digests(path.parent, [path.name])[0]


def content_digests(
    folder: Path,
    names: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """SHA-256 of the content of files, 64 hex digits each.

    A file is read again only if its size, its times (the time of the last change of an inode
    cannot be set back) or its inode differ from those when it was read. Known hashes are kept in
    the cache folder, one file per folder.

    Args:
        folder: Folder of the files.
        names: Their paths, relative to it.
        progress: Called with the number of files read and the number to read.

    Returns:
        One hash per name, in the same order.

    Raises:
        OSError: If a file cannot be read; its ``filename`` is that file.
    """
    known_at = _place(folder)
    known = _known(known_at)
    paths = {name: folder / name for name in dict.fromkeys(names)}
    states = {name: _state(path) for name, path in paths.items()}
    stale = [name for name, state in states.items() if known.get(name, [])[:-1] != [*state]]
    if stale:
        now = time.time_ns()
        read: dict[str, str] = {}
        progress(0, len(stale))
        # Reading and hashing both release the GIL.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for first in range(0, len(stale), _FILES_AT_ONCE):
                some = stale[first : first + _FILES_AT_ONCE]
                digests = pool.map(_digest, (paths[name] for name in some))
                read |= dict(zip(some, digests, strict=True))
                progress(len(read), len(stale))
        known |= {name: [*states[name], read[name]] for name in stale}
        settled = {n: known[n] for n in known if n not in read or states[n].changed < now - _TICK}
        _remember(known_at, settled)
    return [str(known[name][-1]) for name in names]


class _State(NamedTuple):
    """Stat fields of a file that an edit changes: size, times in nanoseconds, inode."""

    size: int
    changed: int
    modified: int
    inode: int


_Known = dict[str, list[int | str]]  # the four numbers of a state, then the hash
# Hashes of the folder requested last, with the state of the cache file they were read from.
_last: tuple[Path, _State, _Known] | None = None


def _known(path: Path) -> _Known:
    """Cached hashes of a folder; empty if there are none, or the cache is damaged."""
    global _last
    try:
        state = _state(path)
    except OSError:
        return {}
    if _last is None or _last[:2] != (path, state):
        try:
            cached = json.loads(path.read_bytes())
            fits = isinstance(cached, dict) and all(
                isinstance(entry, list) and len(entry) == 5 and isinstance(entry[4], str)
                for entry in cached.values()
            )
        except (OSError, ValueError, RecursionError):
            fits = False
        _last = path, state, cached if fits else {}
    return dict(_last[2])


def _remember(path: Path, known: _Known) -> None:
    # An unwritable cache only costs time.
    with suppress(OSError), written_whole(path) as part:
        part.write_text(json.dumps(known), encoding="utf-8")


def _place(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()  # noqa: PTH100
    return cache_folder() / "content" / f"{name[:32]}.json"


def _state(path: Path) -> _State:
    about = path.stat()
    # The time of the last change of the inode: nobody can set it back.
    changed = max(about.st_ctime_ns, about.st_mtime_ns)
    return _State(about.st_size, changed, about.st_mtime_ns, about.st_ino)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
