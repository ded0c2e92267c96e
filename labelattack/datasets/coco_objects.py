"""Objects of annotation files in COCO's format, read when they are first used."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelattack.datasets.coco_json import CocoJson
from labelattack.datasets.label_cache import Arrays, cached
from labelattack.errors import DatasetError, shown
from labelattack.labels.objects import ImageObjects, ObjectList
from labelattack.process_cache import ProcessCache

_CHECKS = 1
"""Version of the checks that cached objects have passed; raised with each new check."""
# Of the process, not of the instance: what a worker process is sent stays small.
_lists: ProcessCache[ObjectList] = ProcessCache(2)


@dataclass(frozen=True)
class CocoObjects:
    """Objects of one ``instances_*.json`` or ``lvis_v1_*.json``, crowds included.

    The file is read as a stream at the first use; the objects are then kept in the cache folder.

    Attributes:
        dataset: Name of the dataset.
        file: The file.
        key: Key of an image's name in it.
        by_id: Whether images are in the order of their ids, or in that of the file.
        images: Number of its images.
    """

    dataset: str
    file: CocoJson
    key: str
    by_id: bool
    images: int

    def __getitem__(self, index: int) -> ImageObjects:
        return self.listed()[index]

    def listed(self) -> ObjectList:
        """Objects of all images.

        Raises:
            DatasetError: If the file cannot be read, an object lacks a box or an area, an image
                lacks its sides, or the file was replaced since its labels were read.
        """
        return _lists.get(self, self._read)

    def _read(self) -> ObjectList:
        name = f"{self.dataset}-objects"
        found = cached(name, [self.file.path], [_CHECKS], self._parsed, _listed)
        if len(found.sizes) != self.images:
            raise DatasetError(
                f"'{self.file.path}' must stay as it was when its labels were read, with "
                f"{self.images} images, got {len(found.sizes)}"
            )
        return found

    def _parsed(self) -> Arrays:
        sizes: dict[int, tuple[float, float]] = {}
        corners, areas = array("f"), array("f")
        file = self.file

        def of_image(place: str, entry: dict[str, Any]) -> None:
            height, width = (_side(file, place, entry, side) for side in ("height", "width"))
            sizes[file.number(place, entry.get("id"), "id")] = height, width

        def of_object(place: str, entry: dict[str, Any]) -> None:
            corners.extend(_corners(file, place, entry.get("bbox")))
            areas.append(_measure(file, place, entry.get("area"), "area"))

        categories = sorted(file.named("categories", "name"))
        images = list(file.named("images", self.key, of_image))
        images = sorted(images) if self.by_id else images
        rows, columns = file.annotated(
            {image: n for n, image in enumerate(images)},
            {category: n for n, category in enumerate(categories)},
            of_object,
        )
        listed = ObjectList.of(
            rows,
            columns,
            np.array(corners, dtype=np.float32).reshape(-1, 4),
            np.array(areas, dtype=np.float32),
            np.array([sizes[image] for image in images], dtype=np.float32),
        )
        return vars(listed)


def _listed(arrays: Arrays) -> ObjectList:
    """Objects of the arrays in the cache."""
    found = ObjectList(**arrays)
    objects, images = len(found.classes), len(found.sizes)
    fits = found.corners.shape == (objects, 4) and found.areas.shape == (objects,)
    if not fits or found.starts.shape != (images + 1,) or found.starts[-1] != objects:
        raise ValueError(f"objects must fit together, got {objects} of {images} images")
    return found


def _corners(file: CocoJson, place: str, box: object) -> tuple[float, float, float, float]:
    """Top, left, bottom, right of a box given as left, top, width, height."""
    if not isinstance(box, list) or len(box) != 4:
        raise file.refused(
            f"{place} must have left, top, width and height as 'bbox', got {shown(box)}"
        )
    left, top = (_number(file, place, value, "bbox") for value in box[:2])
    width, height = (_measure(file, place, value, "bbox") for value in box[2:])
    return top, left, top + height, left + width


def _side(file: CocoJson, place: str, entry: dict[str, Any], key: str) -> float:
    side = _measure(file, place, entry.get(key), key)
    if not side:
        raise file.refused(f"{place} must have a number above 0 as '{key}', got {side:g}")
    return side


def _measure(file: CocoJson, place: str, value: object, key: str) -> float:
    """A number that is not negative."""
    number = _number(file, place, value, key)
    if number < 0:
        raise file.refused(f"{place} must have no negative number as '{key}', got {number:g}")
    return number


def _number(file: CocoJson, place: str, value: object, key: str) -> float:
    # Far below what four bytes hold, far above any image.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise file.refused(f"{place} must have a finite number as '{key}', got {shown(value)}")
    return float(value)
