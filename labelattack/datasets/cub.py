"""Attributes of CUB-200-2011, official layout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
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
    references: ClassVar[str] = "wah2011"

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
        lines = _of_images(path, "1 or 0", images)
        odd = next((line for line in lines if line.text not in ("0", "1")), None)
        if odd is not None:
            raise DatasetError(f"'{path}' must say 1 or 0 of each image, got {odd}")
        return np.array([line.text == "1" for line in lines])

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
        _check_each_once(path, table, places, images, attributes)
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
        number, *rest = line.text.split(maxsplit=1)
        if not (number.isascii() and number.isdigit() and rest):
            raise DatasetError(f"'{path}' must hold lines 'id {what}', got {line}")
        numbers.append(int(number))
        texts += rest
    if not lines:
        raise DatasetError(f"'{path}' must hold lines 'id {what}', got none")
    for kind, names in (("an id", list(map(str, numbers))), (f"a {what}", texts * differ)):
        check_once(f"'{path}': {kind}", names, lambda row: f"line {lines[row].number}")
    kept = (Line(line.number, text) for line, text in zip(lines, texts, strict=True))
    return dict(zip(numbers, kept, strict=True))


def _of_images(path: Path, what: str, images: Sequence[int]) -> list[Line]:
    """Text of each image in a list that has a line ``id text`` for every image."""
    lines = _numbered(path, what, differ=False)
    odd = sorted(set(images) ^ set(lines))
    if odd:
        raise DatasetError(
            f"'{path}' must list the images of images.txt, got {len(lines)} for {len(images)}, the "
            f"first in one alone with id {odd[0]} ({len(odd)} such)"
        )
    return [lines[image] for image in images]


def _corners(path: Path, images: Sequence[int]) -> NDArray[np.float64]:
    """Left, top, width and height of the box of each image, float ``[images, 4]``."""
    what = "x y width height"
    corners = np.full((len(images), 4), np.nan)
    for row, line in enumerate(_of_images(path, what, images)):
        fields = line.text.split()
        with suppress(ValueError):
            corners[row] = [float(field) for field in fields] if len(fields) == 4 else np.nan
        if not (np.isfinite(corners[row]).all() and (corners[row, 2:] > 0).all()):
            raise DatasetError(
                f"'{path}' must hold lines 'id {what}' with sides above 0, got line {line.number}: "
                f"'{images[row]} {line.text}'"
            )
    return corners


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


def _check_each_once(
    path: Path,
    table: NumberLines,
    places: NDArray[np.int64],
    images: Sequence[int],
    attributes: Sequence[int],
) -> None:
    """Raises DatasetError unless each attribute of each image has one line."""
    times = np.bincount(places, minlength=len(images) * len(attributes))
    if (times == 1).all():
        return
    place = int((times != 1).argmax())
    row, column = divmod(place, len(attributes))
    lines = table.lines[places == place]
    got = f"lines {lines[0]} and {lines[1]}" if len(lines) else "none"
    raise DatasetError(
        f"'{path}' must have one line for image {images[row]} and attribute {attributes[column]}, "
        f"got {got} ({np.count_nonzero(times != 1)} such)"
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
