"""One split of a dataset: images with their labels, as far as these are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.images import ArrayImages, FileImages, Images, SomeImages
from labelattack.errors import DatasetError, shown
from labelattack.files.names import repeated
from labelattack.labels import BoolArray, PartialLabels, check_matrix
from labelattack.labels.objects import Objects, take


class Boxes(Protocol):
    """Ground-truth boxes, indexed by image."""

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        """Boxes of one image, ``[boxes, 4]``: top, left, bottom, right in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class SomeBoxes:
    """Boxes of a subset of the images."""

    boxes: Boxes
    rows: NDArray[np.int64]

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        return self.boxes[int(self.rows[index])]

    def fingerprint(self) -> str:
        """Hash of the box files, if any, and of the subset."""
        of_boxes = getattr(self.boxes, "fingerprint", str)
        return hashlib.sha256(of_boxes().encode() + self.rows.tobytes()).hexdigest()


class Split:
    """One split: images with their labels, as far as these are known.

    Args:
        images: The images.
        labels: bool ``[images, labels]``, or partial labels where some are not known.
        ids: Name of each image, unique over all splits of the dataset.
        known: Entries of ``labels`` that are known, bool ``[images, labels]``; None means all. In a
            training split, losses see no others; in a validation split selection, in a test split
            the reported numbers are taken of these alone.
        boxes: Ground-truth boxes of each image, float ``[boxes, 4]``: top, left, bottom, right in
            [0, 1] of the image; None if the dataset has none. Used by the D-Score only.
        groups: Name of the patient, recording, location ... of each image; None if there are none.
        objects: Annotated objects of each image, with the classes' positions among the labels; None
            if the dataset has none. Used by attacks that know them.

    Attributes:
        images: The images.
        partial: The labels.
        ids: Name of each image.
        boxes: Boxes of each image, or None.
        groups: Group of each image, or None.
        objects: Objects of each image, or None.
    """

    def __init__(
        self,
        images: Images,
        labels: BoolArray | PartialLabels,
        ids: Sequence[str],
        known: BoolArray | None = None,
        boxes: Boxes | None = None,
        groups: Sequence[str] | None = None,
        objects: Objects | None = None,
    ) -> None:
        self.images, self.ids, self.boxes, self.groups = images, ids, boxes, groups
        self.objects = objects
        self.partial = _partial(labels, known)
        if not callable(getattr(images, "fingerprint", None)):
            raise DatasetError(
                "images must be read one by one and have a fingerprint, as ArrayImages(pixels) and "
                f"FileImages(folder, names) do, got a {type(images).__name__}"
            )
        if not len(images) == len(self.partial) == len(ids):
            raise DatasetError(
                f"a split must have as many images as labels and ids, got {len(images)}, "
                f"{len(self.partial)} and {len(ids)}"
            )
        if groups is not None and len(groups) != len(ids):
            raise DatasetError(f"a split must have a group for each image, got {len(groups)}")
        if not len(images):
            raise DatasetError("a split must have at least one image, got none")
        odd = next((name for name in ids if not isinstance(name, str)), None)
        if odd is not None:
            raise DatasetError(f"ids of a split must be text, got {shown(odd)}")
        check_once("an id of a split", ids, "row {}".format)
        self.partial = self.partial.named(ids)

    @cached_property
    def labels(self) -> BoolArray:
        """Known positives, bool ``[images, labels]``."""
        return self.partial.values

    @cached_property
    def known(self) -> BoolArray | None:
        """Entries that are known, bool ``[images, labels]``; None if all are."""
        return None if self.partial.is_complete else self.partial.observed

    @cached_property
    def positive_only(self) -> bool:
        """Whether positives are known and no negative is: labels as users and tags give them."""
        return not self.partial.is_complete and self.partial.known_positives == self.partial.known

    @property
    def counted(self) -> BoolArray | None:
        """Entries that count at evaluation, bool ``[images, labels]``; None if all do.

        The known ones; where no negative is known there is nothing to rank positives against, and
        all count, unknown ones as negatives.
        """
        return None if self.positive_only else self.known

    @property
    def known_share(self) -> float:
        """Share of the entries that are known, in [0, 1]."""
        images, labels = self.partial.shape
        return self.partial.known / (images * labels) if labels else 1.0

    @cached_property
    def class_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives and negatives of each class that count, int64 ``[labels]`` each."""
        positives = self.partial.per_class("positives")
        known = len(self) if self.positive_only else self.partial.per_class()
        return positives, np.asarray(known - positives)

    def __len__(self) -> int:
        return len(self.partial)

    @cached_property
    def images_fingerprint(self) -> str:
        """Hash of the images at its first use; cached."""
        return self.images.fingerprint()

    @property
    def is_unchanged(self) -> bool:
        """Whether the image files are unchanged since their fingerprint was taken."""
        files = isinstance(self.images, FileImages)
        return not files or self.images.fingerprint() == self.images_fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """Hash of images, ids, labels, and groups and box files if any.

        Objects are no part of it, so that keys of stores stay as they are: only attacks use them,
        and a record keeps the hash of the attacked labels.
        """
        parts = hashlib.sha256(self.images_fingerprint.encode())
        parts.update("\n".join(self.ids).encode())
        for part in self.partial.packed("values"):
            parts.update(part)
        parts.update(str(self.partial.shape).encode())
        if not self.partial.is_complete:
            for part in self.partial.packed("observed"):
                parts.update(part)
        # Boxes generated together with the images need no hash of their own.
        if (of_boxes := getattr(self.boxes, "fingerprint", None)) is not None:
            parts.update(of_boxes().encode())
        if self.groups is not None:
            parts.update("\n".join(self.groups).encode())
        return parts.hexdigest()[:16]

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Split of the given rows, in that order."""
        images: Images
        if isinstance(self.images, FileImages):
            images = self.images.take(rows)
        elif isinstance(self.images, ArrayImages):
            images = ArrayImages(self.images.pixels[rows])
        else:
            images = SomeImages(self.images, rows)
        return Split(
            images,
            self.partial.take(rows),
            [self.ids[row] for row in rows],
            boxes=None if self.boxes is None else SomeBoxes(self.boxes, rows),
            groups=None if self.groups is None else [self.groups[row] for row in rows],
            objects=take(self.objects, rows),
        )


def _partial(labels: BoolArray | PartialLabels, known: BoolArray | None) -> PartialLabels:
    """Labels of a split from its arguments."""
    if known is None:
        return labels if isinstance(labels, PartialLabels) else PartialLabels.full(labels)
    check_matrix("known", known)
    values = labels.values if isinstance(labels, PartialLabels) else labels
    check_matrix("labels", values)
    if known.shape != values.shape:
        raise DatasetError(
            f"known must have the shape of the labels, {values.shape}, got {known.shape}"
        )
    return PartialLabels(values, known)


def saturated(split: Split) -> BoolArray:
    """Classes of which positives count and no negative does, bool ``[labels]``."""
    positives, negatives = split.class_counts
    return np.asarray((positives > 0) & (negatives == 0))


def check_once(what: str, names: Sequence[str], place: Callable[[int], str]) -> None:
    """Raises DatasetError if a name occurs twice.

    Args:
        what: Kind of thing that must occur once, for the message.
        names: The names.
        place: Names the place of a position.
    """
    message = repeated(what, names, place)
    if message:
        raise DatasetError(message)
