"""Verification that all images of a split can be decoded, before training starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from labelattack.datasets.base import Progress, Split, Splits
from labelattack.datasets.dataset_card import Finding, counted
from labelattack.datasets.images import ArrayImages, Images, in_parallel
from labelattack.errors import DatasetError, LabelAttackError
from labelattack.files.storage import cache_folder, written_whole
from labelattack.hashing import digest

_AT_ONCE = 256
Side = tuple[int, int]


def _silent(what: str, done: int, total: int) -> None:
    """Progress callback that does nothing."""


class Verified(NamedTuple):
    """Outcome of decoding every image.

    Attributes:
        sizes: Distinct (height, width) pairs, sorted.
        unreadable: Reason why an image cannot be read, by position.
    """

    sizes: list[Side]
    unreadable: dict[int, str]


def verified(
    split: Split, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Decodes all images of a split; success is cached under their fingerprint.

    Args:
        split: The images.
        progress: Called with the number decoded and the total.

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
    for row, size in enumerate(_sizes(images)):
        if isinstance(size, str):
            unreadable[row] = size
        else:
            sizes.add(size)
        if row % _AT_ONCE == 0 or row == len(images) - 1:
            progress(row + 1, len(images))
    if not unreadable:
        _write(place, sizes)
    return Verified(sorted(sizes), unreadable)


def verify(splits: Splits, *, one_size: bool = False, progress: Progress = _silent) -> None:
    """Checks that all images can be read.

    Args:
        splits: The dataset.
        one_size: Require one height and width for all, as for a model that does not resize.
        progress: Called with the split, the number decoded and the total.

    Raises:
        DatasetError: If a check fails; names the first image, and counts the others.
    """
    verify_parts(splits.parts, one_size=one_size, progress=progress)


def verify_parts(
    parts: Mapping[str, Split], *, one_size: bool = False, progress: Progress = _silent
) -> None:
    """Checks images that are no whole dataset; see ``verify``.

    Args:
        parts: Images by name.
        one_size: As of ``verify``, like the next one.
        progress: Called with the name of a part.

    Raises:
        DatasetError: If a check fails.
    """
    sizes: set[Side] = set()
    for name, split, outcome in _each(parts, progress):
        if outcome.unreadable:
            first, more = next(iter(outcome.unreadable.values())), len(outcome.unreadable) - 1
            others = f" ({more} more of the {len(split.ids)} images of {name} cannot be read)"
            raise DatasetError(first + others * bool(more))
        sizes |= set(outcome.sizes)
    if one_size and len(sizes) > 1:
        raise DatasetError(
            "images must have one size for a model that does not resize, got "
            f"{', '.join(f'{height} x {width}' for height, width in sorted(sizes)[:5])}"
            f"{', ...' * (len(sizes) > 5)}"
        )


def readable(splits: Splits, progress: Progress = _silent) -> list[Finding]:
    """One finding per split: the number of readable images, and the first unreadable one."""
    splits.read_contents(progress)
    findings = []
    for name, split, outcome in _each(splits.parts, progress):
        total, bad = len(split.ids), outcome.unreadable
        finding = counted(f"{name}: images that can be read", total, total - len(bad))
        reason = next(iter(bad.values()), "")
        findings.append(finding._replace(found=finding.found + f"; {reason}" * bool(reason)))
    return findings


def _each(parts: Mapping[str, Split], progress: Progress) -> Iterator[tuple[str, Split, Verified]]:
    for name, split in parts.items():
        yield name, split, verified(split, partial(progress, f"decoding {name}"))


def _sizes(images: Images) -> Iterator[Side | str]:
    """Height and width of each image, or the reason why it cannot be read."""

    def size(row: int) -> Side | str:
        try:
            height, width, _ = images[row].shape
        except LabelAttackError as error:
            return str(error)
        except Exception as error:  # plug-in code
            return f"image {row} cannot be read: {type(error).__name__}: {error}"
        return height, width

    # Decoders release the GIL. In chunks: results of a million images would pile up in memory.
    threads = os.cpu_count() or 1 if in_parallel(images) else 1
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(images), _AT_ONCE):
            yield from pool.map(size, range(first, min(first + _AT_ONCE, len(images))))


def _place(fingerprint: str) -> Path:
    import PIL

    key = digest([fingerprint, PIL.__version__])
    return cache_folder() / "verified" / f"{key}.json"


def _read(path: Path) -> list[Side] | None:
    try:
        cached = json.loads(path.read_bytes())
        return sorted((int(height), int(width)) for height, width in cached["sizes"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _write(path: Path, sizes: set[Side]) -> None:
    # An unwritable cache only costs time.
    with suppress(OSError), written_whole(path) as part:
        part.write_text(json.dumps({"sizes": sorted(sizes)}), encoding="utf-8")
