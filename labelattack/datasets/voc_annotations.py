"""Annotation files of Pascal VOC: boxes of objects with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import DatasetError, unknown
from labelattack.files.content import content_digests
from labelattack.files.storage import is_file
from labelattack.hashing import digest
from labelattack.labels.objects import ImageObjects
from labelattack.process_cache import ProcessCache

SIDES = ("width", "height")
_CORNERS = ("ymin", "xmin", "ymax", "xmax")


class _Annotation(NamedTuple):
    """Objects of one file that are not marked difficult, in pixels.

    Attributes:
        names: Class of each object.
        corners: Top, left, bottom, right of each box, float64 ``[objects, 4]``.
        size: Height and width of the image.
    """

    names: list[str]
    corners: NDArray[np.float64]
    size: tuple[float, float]


@dataclass(frozen=True, eq=False)
class VocBoxes:
    """Boxes of objects not marked difficult, read from XML on access."""

    paths: list[Path]

    def fingerprint(self) -> str:
        """Hash of the contents of the existing files."""
        there = [path for path in self.paths if is_file(path)]
        try:
            digests = (
                content_digests(there[0].parent, [path.name for path in there]) if there else []
            )
        except OSError as error:
            raise DatasetError(f"annotation '{error.filename}' cannot be read: {error}") from error
        return digest(digests)

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        found = _read(self.paths[index])
        height, width = found.size
        relative: NDArray[np.float64] = found.corners / np.array([height, width, height, width])
        return relative


@dataclass(frozen=True, eq=False)
class VocObjects:
    """Objects not marked difficult, read from XML on access; an object's area is that of its box.

    Attributes:
        paths: File of each image.
        classes: Names of the classes.
    """

    paths: list[Path]
    classes: Sequence[str]

    def __getitem__(self, index: int) -> ImageObjects:
        path, classes = self.paths[index], self.classes
        return _objects.get((path, *classes), lambda: _objects_of(path, classes))


# Attacks of one benchmark read the same files again and again.
_objects: ProcessCache[ImageObjects] = ProcessCache(1 << 15)


def _objects_of(path: Path, classes: Sequence[str]) -> ImageObjects:
    names, corners, size = _read(path)
    stray = next((name for name in names if name not in classes), None)
    if stray is not None:
        reason = unknown("class", stray, classes)
        raise DatasetError(f"annotation '{path}' cannot be read: {reason}")
    sides = corners[:, 2:] - corners[:, :2]
    if (sides < 0).any():
        row = int(np.flatnonzero((sides < 0).any(axis=1))[0])
        raise DatasetError(
            f"annotation '{path}' cannot be read: a box must end where it begins or after, got "
            f"{corners[row].tolist()} for object {row + 1}, '{names[row]}'"
        )
    numbers = np.array([classes.index(name) for name in names], dtype=np.int64)
    return ImageObjects(numbers, corners, sides.prod(axis=1), size)


def _read(path: Path) -> _Annotation:
    """Reads one file.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        root: ElementTree.Element = ElementTree.parse(path, parser).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in SIDES)
        boxes = [
            (thing.findtext("name", "").strip(), box)
            for thing in root.iter("object")
            if thing.findtext("difficult") != "1"
            for box in thing.findall("bndbox")
        ]
        found = [[float(box.findtext(name, "")) for name in _CORNERS] for _, box in boxes]
        corners = np.array(found, dtype=np.float64).reshape(-1, 4)
        if not (0 < width < np.inf and 0 < height < np.inf and np.isfinite(corners).all()):
            raise ValueError(f"sides must be above 0 and corners finite, got {width}, {height}")
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise DatasetError(f"annotation '{path}' cannot be read: {error}") from error
    # Pixels are counted from 1, and both corners are inside the box.
    corners[:, :2] -= 1
    return _Annotation([name for name, _ in boxes], corners, (height, width))


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Rejects document types: annotations have none, and only there can entities be declared."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it must have no document type")
