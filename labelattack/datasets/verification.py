"""Decoding every image of a split once, before anything is trained on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from labelattack.datasets.base import Progress, Split, Splits
from labelattack.datasets.dataset_card import Finding, counted
from labelattack.datasets.images import ArrayImages, FileImages, Images
from labelattack.errors import DatasetError, LabelAttackError
from labelattack.files.storage import cache_folder, written_whole
from labelattack.hashing import digest

_AT_ONCE = 256
Side = tuple[int, int]


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody is told of."""


class Verified(NamedTuple):
    """Outcome of decoding every image.

    Attributes:
        sizes: Each height and width that occurs, sorted.
        unreadable: Why an image cannot be read, by its position.
    """

    sizes: list[Side]
    unreadable: dict[int, str]


def verified(
    split: Split, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Decodes images; of those that all could be read, this is remembered by their fingerprint.

    Args:
        split: The images.
        progress: Told how many are decoded.

    Raises:
        DatasetError: If a file cannot be hashed.
    """
    images = split.images
    if isinstance(images, ArrayImages):
        return Verified([images.pixels.shape[1:3]] if len(images) else [], {})
    place = _place(split.images_fingerprint)
    known = _read(place)
    if known is not None:
        return Verified(known, {})
    sizes: set[Side] = set()
    unreadable: dict[int, str] = {}
    for row, found in enumerate(_sizes(images)):
        if isinstance(found, str):
            unreadable[row] = found
        else:
            sizes.add(found)
        if row % _AT_ONCE == 0 or row == len(images) - 1:
            progress(row + 1, len(images))
    if not unreadable:
        _write(place, sizes)
    return Verified(sorted(sizes), unreadable)


def verify(splits: Splits, *, one_size: bool = False, progress: Progress = _silent) -> None:
    """Checks that every image can be read.

    Args:
        splits: The dataset.
        one_size: Whether all must have one height and width, as for a model that does not resize.
        progress: Told how many of how many are decoded.

    Raises:
        DatasetError: If not; names the first, and says how many there are.
    """
    sizes: set[Side] = set()
    for name, split, found in _each(splits, progress):
        if found.unreadable:
            first, more = next(iter(found.unreadable.values())), len(found.unreadable) - 1
            others = f" ({more} more of the {len(split.ids)} images of {name} cannot be read)"
            raise DatasetError(first + others * bool(more))
        sizes |= set(found.sizes)
    if one_size and len(sizes) > 1:
        raise DatasetError(
            "images must have one size for a model that does not resize, got "
            f"{', '.join(f'{height} x {width}' for height, width in sorted(sizes)[:5])}"
            f"{', ...' * (len(sizes) > 5)}"
        )


def readable(splits: Splits, progress: Progress = _silent) -> list[Finding]:
    """For each split, how many of its images can be read; names the first that cannot."""
    splits.read_contents(progress)
    findings = []
    for name, split, found in _each(splits, progress):
        total, bad = len(split.ids), found.unreadable
        finding = counted(f"{name}: images that can be read", total, total - len(bad))
        reason = next(iter(bad.values()), "")
        findings.append(finding._replace(found=finding.found + f"; {reason}" * bool(reason)))
    return findings


def _each(splits: Splits, progress: Progress) -> Iterator[tuple[str, Split, Verified]]:
    for name, split in splits.parts.items():
        yield name, split, verified(split, partial(progress, f"decoding {name}"))


def _sizes(images: Images) -> Iterator[Side | str]:
    """Height and width of each image, or why it cannot be read."""

    def size(row: int) -> Side | str:
        try:
            height, width, _ = images[row].shape
        except LabelAttackError as error:
            return str(error)
        except Exception as error:  # a stranger's code
            return f"image {row} cannot be read: {type(error).__name__}: {error}"
        return height, width

    # Decoders let other threads run. Not all at once: results of a million would wait in memory.
    threads = os.cpu_count() or 1 if isinstance(images, FileImages) else 1
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(images), _AT_ONCE):
            yield from pool.map(size, range(first, min(first + _AT_ONCE, len(images))))


def _place(fingerprint: str) -> Path:
    import PIL

    key = digest([fingerprint, PIL.__version__])
    return cache_folder() / "verified" / f"{key}.json"


def _read(path: Path) -> list[Side] | None:
    try:
        found = json.loads(path.read_bytes())
        return sorted((int(height), int(width)) for height, width in found["sizes"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _write(path: Path, sizes: set[Side]) -> None:
    # A cache that cannot be written costs time, nothing else.
    with suppress(OSError), written_whole(path) as part:
        part.write_text(json.dumps({"sizes": sorted(sizes)}), encoding="utf-8")
