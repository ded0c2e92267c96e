"""Shared parts of datasets in official layouts: lists, missing images, hold-outs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import Boxes, SomeBoxes, Split
from labelattack.datasets.images import FileImages
from labelattack.errors import DatasetError
from labelattack.files.storage import is_there
from labelattack.files.text import Line, written_lines
from labelattack.labels import PartialLabels
from labelattack.labels.objects import Objects, take


class Listing(NamedTuple):
    """An official list: images with their labels, missing files included.

    Attributes:
        name: Name of the list.
        images: The images.
        ids: Name of each image.
        labels: Their labels, as far as they are known.
        boxes: Boxes of each image; None if there are none.
        groups: Name of the patient, recording ... of each image; None if there are none.
        objects: Annotated objects of each image; None if there are none.
    """

    name: str
    images: FileImages
    ids: Sequence[str]
    labels: PartialLabels
    boxes: Boxes | None = None
    groups: Sequence[str] | None = None
    objects: Objects | None = None


def absent_rows(images: FileImages) -> list[int]:
    """Positions of the images whose files are missing."""
    return [row for row in range(len(images)) if not images.there(row)]


def absent(listing: Listing) -> list[str]:
    """Ids of the images whose files are missing."""
    return [listing.ids[row] for row in absent_rows(listing.images)]


def looked_for(images: FileImages, row: int) -> str:
    """Path of a missing image, with a hint if another path differs in case only."""
    path = images.folder / images.names[row]
    near = _in_other_case(images.folder, images.names[row])
    hint = f" (there is '{near}', whose name differs in case)" if near else ""
    return f"'{path}'{hint}"


def entries(folder: Path) -> list[str]:
    """Names in a folder; empty if it cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208  # pathlib's takes four times as long
    except OSError:
        return []


def _in_other_case(folder: Path, name: str) -> Path | None:
    here = folder
    for part in PurePath(name).parts:
        near = [entry for entry in entries(here) if entry.casefold() == part.casefold()]
        if not near:
            return None
        here = here / near[0]
    return here


def assemble(
    dataset: str, tolerance: float, listings: Sequence[Listing]
) -> tuple[list[Split], tuple[str, ...]]:
    """Makes a split of each list, without the missing images.

    Args:
        dataset: Name of the dataset, for messages.
        tolerance: Largest share of images that may be missing.
        listings: The lists.

    Returns:
        The splits, and a note if images are missing.

    Raises:
        DatasetError: If more than the tolerance, or all of a list, are missing.
    """
    splits: list[Split] = []
    missing: list[str] = []
    first = ""
    for listing in listings:
        gone = absent_rows(listing.images)
        first = first or (looked_for(listing.images, gone[0]) if gone else "")
        if len(gone) == len(listing.ids):
            looked = f": the first looked for is {first}" if gone else ": the list is empty"
            raise DatasetError(
                f"no image of '{listing.name}' is under '{listing.images.folder}'{looked}"
            )
        missing += [listing.ids[row] for row in gone]
        splits.append(_those(listing, np.setdiff1d(np.arange(len(listing.ids)), gone)))
    total = sum(len(listing.ids) for listing in listings)
    if len(missing) > tolerance * total:
        raise DatasetError(
            f"dataset '{dataset}' may miss {tolerance:.1%} of its images, got "
            f"{len(missing) / total:.1%} ({len(missing)} of {total}) under "
            f"'{listings[0].images.folder}', the first {first}; complete it or raise "
            f"{dataset}:tolerance"
        )
    if not missing:
        return splits, ()
    names = f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
    note = f"{dataset}: {len(missing)} of {total} images are missing and left out: {names}"
    return splits, (note,)


def _those(listing: Listing, rows: NDArray[np.int64]) -> Split:
    """Split of the given rows of a list."""
    return Split(
        listing.images.take(rows),
        listing.labels.take(rows),
        [listing.ids[row] for row in rows],
        boxes=None if listing.boxes is None else SomeBoxes(listing.boxes, rows),
        groups=None if listing.groups is None else [listing.groups[row] for row in rows],
        objects=take(listing.objects, rows),
    )


def without_known(dataset: str, splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Notes on the images of which no label is known, one for each split that has some.

    Args:
        dataset: Name of the dataset.
        splits: The splits, by the names of their lists.
    """
    counts = {name: np.count_nonzero(s.partial.per_image() == 0) for name, s in splits.items()}
    return tuple(
        f"{dataset}: no label is known of {count} of the {len(splits[name])} images of {name}"
        for name, count in counts.items()
        if count
    )


def check_groups_apart(kind: str, one: Listing, other: Listing) -> None:
    """Raises DatasetError if a group has images in both of two lists.

    Args:
        kind: Kind of the groups in the plural, for the message, e.g. ``patients``.
        one: A list with groups.
        other: Another one.
    """
    groups, others = one.groups or (), other.groups or ()
    shared = set(groups) & set(others)
    if shared:
        row = next(row for row, group in enumerate(others) if group in shared)
        raise DatasetError(
            f"{kind} must be in one of '{one.name}' and '{other.name}', got '{others[row]}' with "
            f"'{one.ids[list(groups).index(others[row])]}' and '{other.ids[row]}' "
            f"({len(shared)} such)"
        )


def listed(path: Path, what: str) -> list[Line]:
    """Lines of a list file that are not blank.

    Args:
        path: The file.
        what: Kind of its lines, for messages.

    Raises:
        DatasetError: If it cannot be read or is not UTF-8.
    """
    try:
        return written_lines(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' must hold {what}: {error}") from error


def required(dataset: str, path: Path, layout: Sequence[str]) -> Path:
    """Returns a path that must exist.

    Raises:
        DatasetError: If it does not; describes the required layout.
    """
    if not is_there(path):
        raise DatasetError(
            f"dataset '{dataset}' needs '{path}', which is not there; it is never downloaded: "
            f"place {'; '.join(layout)} under LABELATTACK_DATA or {dataset}:root=FOLDER "
            f"('labelattack data check {dataset}' says what is missing)"
        )
    return path
