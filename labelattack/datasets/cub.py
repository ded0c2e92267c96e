"""Attributes of CUB-200-2011, official layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.number_lines import NumberLines, leading_numbers
from labelattack.datasets.official import Listing, absent, assemble, listed, required
from labelattack.errors import DatasetError
from labelattack.files.storage import FilePath
from labelattack.files.text import Line
from labelattack.hashing import digest
from labelattack.labels import BoolArray, PartialLabels

EXPECTED_POSITIVES = 31.4
NOT_VISIBLE = 1
"""Certainty of an attribute that the annotator could not see."""
_MOST_CERTAIN = 4
_LABELS = "attributes/image_attribute_labels.txt"
_FILES = ("images.txt", "train_test_split.txt", "bounding_boxes.txt", _LABELS)


@register("cub")
@dataclass(frozen=True, kw_only=True)
class Cub(Dataset):
    """CUB-200-2011, 312 attributes of birds, official training and test list.

    ``holdout`` of the training images are set aside for validation. Annotators gave each attribute
    of each image a value and a certainty. By default the value counts alone, as in the literature
    on single positives, so that numbers can be compared with published ones; a value of an
    attribute that is not visible is a guess, though, and ``certainty=ignore`` takes it as unknown.

    Args:
        root: Folder that holds CUB_200_2011 and attributes.txt, as the archive unpacks; default
            LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        certainty: Whether to ``keep`` all values, or to ``ignore`` those of attributes that are
            not visible: in training, selection and test.
        tolerance: Largest share of images that may be missing.
        split_seed: Seed of the hold-out.
        stratify: Whether the hold-out has its share of the positives of each class too.
    """

    source: ClassVar[str] = "Wah et al. 2011, Caltech CNS-TR-2011-001"

    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    certainty: Literal["keep", "ignore"] = "keep"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    split_seed: Annotated[int, Field(ge=0)] = 0
    stratify: bool = False

    def card(self) -> Card:
        """Official lists."""
        return Card(
            title="CUB-200-2011, 312 attributes",
            labels=312,
            images={"train": 5994, "test": 5794},
            positives_per_image=EXPECTED_POSITIVES,
            splits=f"train and val: marked 1 in train_test_split.txt, {self.holdout:.0%} held out; "
            "test: marked 0",
            home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
            layout=(
                "attributes.txt",
                *(f"CUB_200_2011/{name}" for name in _FILES),
                "CUB_200_2011/images/<species>/*.jpg",
            ),
            remarks=(
                "certainty=ignore takes the values of attributes that are not visible as unknown",
            ),
        )

    def load(self) -> Splits:
        """Reads lists, attributes and boxes and locates the images."""
        listings, classes = self._read()
        (learn, test), notes = assemble("cub", self.tolerance, listings)
        train, val = hold_out(
            learn, self.holdout, self.split_seed, "cub-holdout", stratify=self.stratify
        )
        return Splits(classes, train, val, test, EXPECTED_POSITIVES, notes)

    def examine(self) -> list[Finding]:
        """Compares lists, labels and images with the card."""
        files = [self._folder / name for name in (*_FILES, "images")]
        findings = [there(path) for path in (self._attributes, *files)]
        if all(finding.fine for finding in findings):
            for listing in self._read()[0]:
                findings += examined(self.card(), listing.name, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "CUB_200_2011"

    @property
    def _attributes(self) -> Path:
        return data_root(self.root) / "attributes.txt"

    def _required(self, path: Path) -> Path:
        return required("cub", path, self.card().layout)

    def _read(self) -> tuple[list[Listing], list[str]]:
        """The two lists, and the names of the attributes."""
        files = _numbered(self._required(self._folder / "images.txt"), "path")
        attributes = _numbered(self._required(self._attributes), "name")
        training = self._training(list(files))
        labels = self._labels(list(files), list(attributes))
        corners = _corners(self._required(self._folder / "bounding_boxes.txt"), list(files))
        folder = self._required(self._folder / "images")
        names = np.array([line.text for line in files.values()])
        listings = []
        for name, rows in (("train", training), ("test", ~training)):
            places = np.flatnonzero(rows)
            ids = names[places].tolist()
            images = FileImages(folder, ids)
            boxes = CubBoxes(images, corners[places])
            listings.append(Listing(name, images, ids, labels.take(places), boxes))
        return listings, [line.text for line in attributes.values()]

    def _training(self, images: Sequence[int]) -> BoolArray:
        """Images of the training list, bool ``[images]``."""
        path = self._required(self._folder / "train_test_split.txt")
        table = leading_numbers(path, 2)
        rows = _places(path, table, 0, images, "images.txt")
        _check_once_each(path, table, rows, len(images), lambda row: f"image {images[row]}")
        training = table.numbers[:, 1]
        _check(path, table, training <= 1, "say 1 (training) or 0 (test) of each image")
        marked = np.zeros(len(images), dtype=np.bool_)
        marked[rows] = training == 1
        return marked

    def _labels(self, images: Sequence[int], attributes: Sequence[int]) -> PartialLabels:
        path = self._required(self._folder / _LABELS)
        table = leading_numbers(path, 4)  # some lines have further fields, by mistake
        rows = _places(path, table, 0, images, "images.txt")
        columns = _places(path, table, 1, attributes, "attributes.txt")
        present, certainty = table.numbers[:, 2], table.numbers[:, 3]
        _check(path, table, present <= 1, "say 1 (present) or 0 of each attribute")
        certain = (certainty >= NOT_VISIBLE) & (certainty <= _MOST_CERTAIN)
        _check(path, table, certain, f"give a certainty of {NOT_VISIBLE} to {_MOST_CERTAIN}")
        shape = len(images), len(attributes)
        places = rows * shape[1] + columns

        def pair(place: int) -> str:
            row, column = divmod(place, shape[1])
            return f"image {images[row]} with attribute {attributes[column]}"

        _check_once_each(path, table, places, shape[0] * shape[1], pair)
        values, observed = np.zeros(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
        values.flat[places] = present == 1
        if self.certainty == "ignore":
            observed.flat[places] = certainty != NOT_VISIBLE
        return PartialLabels(values, observed)


@dataclass(frozen=True, eq=False)
class CubBoxes:
    """The box of the bird on each image; the size of the image is read on access.

    Attributes:
        images: The images.
        corners: Left, top, width and height in pixels, float ``[images, 4]``.
    """

    images: FileImages
    corners: NDArray[np.float64]

    def fingerprint(self) -> str:
        """Hash of the boxes."""
        return digest(self.corners.tolist())

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        height, width, _ = self.images[index].shape
        left, top, wide, high = self.corners[index]
        box = np.array([[top, left, top + high, left + wide]])
        relative: NDArray[np.float64] = (box / [height, width, height, width]).clip(0, 1)
        return relative


def _numbered(path: Path, what: str, *, differ: bool = True) -> dict[int, Line]:
    """Lines ``id text`` of a list by their id, each with its text; ids, and texts, are unique."""
    lines, numbers, texts = listed(path, f"lines 'id {what}'"), [], []
    for line in lines:
        number, _, text = line.text.partition(" ")
        if not (number.isascii() and number.isdigit() and text.strip()):
            raise DatasetError(f"'{path}' must hold lines 'id {what}', got {line}")
        numbers.append(int(number))
        texts.append(text.strip())
    if not lines:
        raise DatasetError(f"'{path}' must hold lines 'id {what}', got none")
    for kind, names in (("an id", list(map(str, numbers))), (f"a {what}", texts * differ)):
        check_once(f"'{path}': {kind}", names, lambda row: f"line {lines[row].number}")
    kept = (Line(line.number, text) for line, text in zip(lines, texts, strict=True))
    return dict(zip(numbers, kept, strict=True))


def _corners(path: Path, images: Sequence[int]) -> NDArray[np.float64]:
    """Left, top, width and height of the box of each image, float ``[images, 4]``."""
    boxes = _numbered(path, "x y width height", differ=False)
    odd = sorted(set(images) ^ set(boxes))
    if odd:
        raise DatasetError(
            f"'{path}' must list the images of images.txt, got {len(boxes)} for {len(images)}: the "
            f"first in one alone is {odd[0]} ({len(odd)} such)"
        )
    corners = [_corner(path, image, boxes[image]) for image in images]
    return np.array(corners, dtype=np.float64)


def _corner(path: Path, image: int, line: Line) -> list[float]:
    try:
        left, top, width, height = map(float, line.text.split())
    except ValueError:
        width = height = left = top = np.nan
    if not (np.isfinite([left, top, width, height]).all() and width > 0 and height > 0):
        raise DatasetError(
            f"'{path}' must hold lines 'id x y width height' with sides above 0, got line "
            f"{line.number}: '{image} {line.text}'"
        )
    return [left, top, width, height]


def _places(
    path: Path, table: NumberLines, field: int, known: Sequence[int], source: str
) -> NDArray[np.int64]:
    """Position among the known ids of the id in a field of each line."""
    ids, found = np.array(known), table.numbers[:, field]
    order = np.argsort(ids)
    nearest = np.searchsorted(ids, found, sorter=order).clip(max=len(ids) - 1)
    places: NDArray[np.int64] = order[nearest]
    _check(path, table, ids[places] == found, f"hold ids of {source} in field {field + 1}")
    return places


def _check_once_each(
    path: Path,
    table: NumberLines,
    places: NDArray[np.int64],
    count: int,
    name: Callable[[int], str],
) -> None:
    """Raises DatasetError unless each place below ``count`` is that of one line."""
    times = np.bincount(places, minlength=count)
    twice, none = times > 1, times == 0
    if twice.any():
        place = int(twice.argmax())
        before, again = table.lines[places == place][:2]
        raise DatasetError(
            f"'{path}' must list {name(place)} once, got it at line {before} and line {again} "
            f"({np.count_nonzero(twice)} such)"
        )
    if none.any():
        raise DatasetError(
            f"'{path}' must list {name(int(none.argmax()))}, got no such line "
            f"({np.count_nonzero(none)} such)"
        )


def _check(path: Path, table: NumberLines, legal: BoolArray, rule: str) -> None:
    """Raises DatasetError unless all lines are legal; names the first that is not."""
    if not legal.all():
        row = int(legal.argmin())
        text = " ".join(map(str, table.numbers[row]))
        raise DatasetError(
            f"'{path}' must {rule}, got {Line(int(table.lines[row]), text)} "
            f"({np.count_nonzero(~legal)} such)"
        )
