"""Annotated objects of images: boxes with their classes and areas."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from labelattack.labels.storage import IntArray


class ImageObjects(NamedTuple):
    """Annotated objects of one image, in pixels.

    Attributes:
        classes: Position of each object's class, int64 ``[objects]``.
        corners: Top, left, bottom, right of each object's box, float64 ``[objects, 4]``.
        areas: Area of each object, in square pixels, float64 ``[objects]``.
        size: Height and width of the image.
    """

    classes: NDArray[np.int64]
    corners: NDArray[np.float64]
    areas: NDArray[np.float64]
    size: tuple[float, float]


class Objects(Protocol):
    """Annotated objects, indexed by image."""

    def __getitem__(self, index: int) -> ImageObjects:
        """Objects of one image."""
        ...


@dataclass(frozen=True, eq=False)
class ObjectList:
    """Objects of all images in few arrays, image by image.

    Numbers are kept in four bytes: a million objects take 24 MB, and a corner is exact to a
    ten-thousandth of a pixel.

    Attributes:
        starts: Where the objects of each image begin, int64 ``[images + 1]``.
        classes: Position of each object's class, int32 ``[objects]``.
        corners: Top, left, bottom, right of each box in pixels, float32 ``[objects, 4]``.
        areas: Area of each object in square pixels, float32 ``[objects]``.
        sizes: Height and width of each image, float32 ``[images, 2]``.
    """

    starts: IntArray
    classes: NDArray[np.int32]
    corners: NDArray[np.float32]
    areas: NDArray[np.float32]
    sizes: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        classes: NDArray[Any],
        corners: NDArray[Any],
        areas: NDArray[Any],
        sizes: NDArray[Any],
    ) -> ObjectList:
        """A list of objects that come in any order.

        Args:
            rows: Image of each object, int ``[objects]``; the other arrays are as the attributes.
            classes: Position of each object's class.
            corners: Corners of each object's box.
            areas: Area of each object.
            sizes: Height and width of each image.
        """
        order = np.argsort(rows, kind="stable")
        starts = np.zeros(len(sizes) + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=len(sizes)), out=starts[1:])
        return cls(
            starts,
            classes[order].astype(np.int32),
            corners[order].astype(np.float32).reshape(-1, 4),
            areas[order].astype(np.float32),
            sizes.astype(np.float32).reshape(-1, 2),
        )

    @classmethod
    def from_images(cls, images: Iterable[ImageObjects]) -> ObjectList:
        """A list of the objects of several images."""
        found = list(images)
        empty = ImageObjects(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0), (0, 0))
        classes, corners, areas = (
            np.concatenate([image[part] for image in (*found, empty)]) for part in range(3)
        )
        rows = np.repeat(np.arange(len(found)), [len(image.classes) for image in found])
        sizes = np.array([image.size for image in found])
        return cls.of(rows.astype(np.int64), classes, corners, areas, sizes)

    @property
    def rows(self) -> IntArray:
        """Image of each object, int64 ``[objects]``."""
        return np.repeat(np.arange(len(self.sizes)), np.diff(self.starts))

    def __getitem__(self, index: int) -> ImageObjects:
        here = slice(self.starts[index], self.starts[index + 1])
        height, width = self.sizes[index].tolist()
        return ImageObjects(
            self.classes[here].astype(np.int64),
            self.corners[here].astype(np.float64),
            self.areas[here].astype(np.float64),
            (height, width),
        )

    def listed(self) -> ObjectList:
        """The list itself."""
        return self

    def take(self, rows: IntArray) -> ObjectList:
        """Objects of the given images, in that order."""
        counts = np.diff(self.starts)[rows]
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(counts, out=starts[1:])
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return ObjectList(
            starts,
            self.classes[places],
            self.corners[places],
            self.areas[places],
            self.sizes[rows],
        )


@dataclass(frozen=True, eq=False)
class SomeObjects:
    """Objects of a subset of the images."""

    objects: Objects
    rows: IntArray

    def __getitem__(self, index: int) -> ImageObjects:
        return self.objects[int(self.rows[index])]

    def listed(self) -> ObjectList:
        """Objects of the subset as a list."""
        whole = getattr(self.objects, "listed", None)
        if whole is None:
            return ObjectList.from_images(self.objects[int(row)] for row in self.rows)
        found: ObjectList = whole().take(self.rows)
        return found


def take(objects: Objects | None, rows: IntArray) -> Objects | None:
    """Objects of the given images, in that order; None of none."""
    if objects is None:
        return None
    if isinstance(objects, ObjectList):
        return objects.take(rows)
    if isinstance(objects, SomeObjects):
        return SomeObjects(objects.objects, objects.rows[rows])
    return SomeObjects(objects, rows)


def as_list(objects: Objects, images: int) -> ObjectList:
    """Objects of all images as a list; copies nothing where they are one.

    Args:
        objects: The objects.
        images: Number of images.
    """
    whole = getattr(objects, "listed", None)
    if whole is None:
        return ObjectList.from_images(objects[row] for row in range(images))
    found: ObjectList = whole()
    return found


def covered_share(objects: Objects, images: int, labels: int) -> NDArray[np.float32]:
    """Share of each image that the objects of each class cover.

    Args:
        objects: The objects.
        images: Number of images.
        labels: Number of classes.

    Returns:
        float32 ``[images, labels]``: the sum of the areas of a class's objects divided by the
        area of the image. Where objects overlap, it may be above 1.
    """
    listed = as_list(objects, images)
    rows = listed.rows
    shares = np.zeros((images, labels), dtype=np.float32)
    np.add.at(shares, (rows, listed.classes), listed.areas / listed.sizes.prod(axis=1)[rows])
    return shares
