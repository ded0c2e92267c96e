"""What datasets that lie in files have in common: lists, missing images, hold-outs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelattack.datasets.base import Boxes, SomeBoxes, Split
from labelattack.datasets.images import FileImages
from labelattack.errors import DatasetError
from labelattack.labels import BoolArray
from labelattack.seeding import permutation
from labelattack.storage import is_there


class Listing(NamedTuple):
    """An official list: images with their labels, whether their files are there or not.

    Attributes:
        name: Name of the list.
        images: The images.
        ids: Name of each image.
        labels: bool ``[images, labels]``.
        scored: Cells that count at evaluation; None for all.
        boxes: Boxes of each image; None if there are none.
    """

    name: str
    images: FileImages
    ids: Sequence[str]
    labels: BoolArray
    scored: BoolArray | None = None
    boxes: Boxes | None = None


def absent(listing: Listing) -> list[str]:
    """Ids of the images whose files are not there."""
    return [name for row, name in enumerate(listing.ids) if not listing.images.there(row)]


def assemble(
    dataset: str, tolerance: float, listings: Sequence[Listing]
) -> tuple[list[Split], tuple[str, ...]]:
    """Makes a split of each list, without the images that are missing.

    Args:
        dataset: Name of the dataset, for messages.
        tolerance: Largest share of images that may be missing.
        listings: The lists.

    Returns:
        The splits; and a note if images are missing.

    Raises:
        DatasetError: If too many are, or all of a list.
    """
    splits, missing = [], []
    for listing in listings:
        gone = set(absent(listing))
        rows = np.array([i for i, n in enumerate(listing.ids) if n not in gone], dtype=np.int64)
        if not len(rows):
            raise DatasetError(f"no image of '{listing.name}' is under '{listing.images.folder}'")
        missing += [name for name in listing.ids if name in gone]
        splits.append(
            Split(
                listing.images.take(rows),
                listing.labels[rows],
                [listing.ids[row] for row in rows],
                None if listing.scored is None else listing.scored[rows],
                None if listing.boxes is None else SomeBoxes(listing.boxes, rows),
            )
        )
    total = sum(len(listing.ids) for listing in listings)
    if len(missing) > tolerance * total:
        raise DatasetError(
            f"dataset '{dataset}' may miss {tolerance:.1%} of its images, got "
            f"{len(missing) / total:.1%} ({len(missing)} of {total}) under "
            f"'{listings[0].images.folder}'; complete it or raise {dataset}:tolerance"
        )
    if not missing:
        return splits, ()
    names = f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
    note = f"{dataset}: {len(missing)} of {total} images are missing and left out: {names}"
    return splits, (note,)


def hold_out(split: Split, share: float, seed: int, name: str) -> tuple[Split, Split]:
    """Divides a split at random into what is trained on and what validates.

    Args:
        split: What to divide.
        share: Share that validates.
        seed: Seed of the draw.
        name: Name of the draw's random stream.
    """
    order = permutation(len(split.labels), seed, name)
    cut = round(len(order) * share)
    # Cells are left out at the final evaluation only.
    everything = Split(split.images, split.labels, split.ids, boxes=split.boxes)
    return everything.take(np.sort(order[cut:])), everything.take(np.sort(order[:cut]))


def required(dataset: str, path: Path, layout: Sequence[str]) -> Path:
    """Returns a path that must exist.

    Raises:
        DatasetError: If it does not; says what to place where.
    """
    if not is_there(path):
        raise DatasetError(
            f"dataset '{dataset}' needs '{path}', which is not there; it is never downloaded: "
            f"place {'; '.join(layout)} under LABELATTACK_DATA or {dataset}:root=FOLDER "
            f"('labelattack data check {dataset}' says what is missing)"
        )
    return path
