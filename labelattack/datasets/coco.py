"""COCO as a multi-label classification dataset, official layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.json_stream import items
from labelattack.datasets.official import Listing, absent, assemble, required
from labelattack.errors import DatasetError, shown
from labelattack.files.content import content_digest
from labelattack.files.storage import FilePath, cache_folder, written_whole
from labelattack.hashing import digest
from labelattack.labels import BoolArray, PartialLabels

EXPECTED_POSITIVES = 2.9
# Number of listed images, and of images with at least one annotation.
_SIZES = {
    "train2014": (82783, 82081),
    "val2014": (40504, 40137),
    "train2017": (118287, 117266),
    "val2017": (5000, 4952),
}
_CHECKSUMS = {"train2014": "30d99e7c0bf826050cd0efc95a72453069eceffb928662033620e98cb8f4de16"}


_DIGITS = re.compile(r"-?\d{1,19}", re.ASCII)
_CHECKS = 2
"""Version of the checks that cached labels have passed; raised with each new check."""


class _Annotations(NamedTuple):
    """One ``instances_*.json``, images by id, labels by category id."""

    classes: list[str]
    images: NDArray[np.int64]
    files: list[str]
    labels: BoolArray


@register("coco")
@dataclass(frozen=True, kw_only=True)
class Coco(Dataset):
    """COCO 2014 or 2017: which of 80 kinds of objects have an annotation, crowds included.

    Trains on the official train images, ``holdout`` of which are set aside for validation, and
    tests on the official val images, as the literature does: test labels are not public. The
    annotations are read as a stream, once; the label matrix is then kept in the cache folder.

    Args:
        year: 2014 or 2017.
        root: Folder that holds coco; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        empty: Whether to ``drop`` images without any annotation, as the literature does, or to
            ``keep`` them as images without positives.
        tolerance: Largest share of images that may be missing.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Lin et al. 2014, cocodataset.org"

    year: Literal["2014", "2017"] = "2014"
    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    empty: Literal["drop", "keep"] = "drop"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    split_seed: Annotated[int, Field(ge=0)] = 0

    def card(self) -> Card:
        """Official lists of the year."""
        drop = self.empty == "drop"
        return Card(
            title=f"COCO {self.year}, object instances as labels",
            labels=80,
            images={name: _SIZES[name][drop] for name in self._lists},
            labelled={name: _SIZES[name][1] for name in self._lists},
            positives_per_image=EXPECTED_POSITIVES,
            splits=f"train and val: {self._lists[0]}, {self.holdout:.0%} held out; "
            f"test: {self._lists[1]}",
            licence="annotations CC BY 4.0; images under the terms of Flickr",
            home="https://cocodataset.org/#download",
            layout=tuple(
                f"coco/{name}"
                for split in self._lists
                for name in (f"annotations/instances_{split}.json", f"{split}/*.jpg")
            ),
            checksums=_CHECKSUMS if drop else {},
        )

    def load(self) -> Splits:
        """Reads the annotations and locates the images."""
        listings, classes = [], []
        for name in self._lists:
            listing, names = self._read(name)
            listings.append(listing)
            classes.append(names)
        if classes[0] != classes[1]:
            raise DatasetError(
                f"the annotation files under '{self._folder / 'annotations'}' must have the same "
                f"categories, got {_differing(*classes)}"
            )
        (learn, test), notes = assemble("coco", self.tolerance, listings)
        train, val = hold_out(learn, self.holdout, self.split_seed, "coco-holdout")
        return Splits(classes[0], train, val, test, EXPECTED_POSITIVES, notes)

    def examine(self) -> list[Finding]:
        """Compares annotations, labels and images with the card."""
        findings = []
        for name in self._lists:
            looked = [there(self._annotations(name)), there(self._folder / name)]
            findings += looked
            if all(finding.fine for finding in looked):
                listing, _ = self._read(name)
                findings += examined(self.card(), name, listing.labels, absent(listing))
        return findings

    @property
    def _lists(self) -> tuple[str, str]:
        return f"train{self.year}", f"val{self.year}"

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "coco"

    def _annotations(self, split: str) -> Path:
        return self._folder / "annotations" / f"instances_{split}.json"

    def _read(self, split: str) -> tuple[Listing, list[str]]:
        layout = self.card().layout
        path = required("coco", self._annotations(split), layout)
        annotations = _cached(path)
        required("coco", self._folder / split, layout)
        rows = np.arange(len(annotations.labels))
        if self.empty == "drop":
            rows = rows[annotations.labels.any(axis=1)]
        listing = Listing(
            name=split,
            images=FileImages(self._folder / split, [annotations.files[row] for row in rows]),
            ids=[f"{split}/{annotations.images[row]}" for row in rows],
            labels=PartialLabels.full(annotations.labels[rows]),
        )
        return listing, annotations.classes


def _differing(train: list[str], val: list[str]) -> str:
    """Description of how the categories of the two files differ."""
    alone = [[name for name in a if name not in b] for a, b in ((train, val), (val, train))]
    if not any(alone):
        return "the same in another order"
    return f"{len(train)} and {len(val)}, with '{(alone[0] or alone[1])[0]}' in one alone"


def _cached(path: Path) -> _Annotations:
    """Annotations, from the cache folder if a file of this content was read before."""
    try:
        name = f"coco-{digest([_CHECKS, content_digest(path)])}.npz"
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error}") from error
    kept = cache_folder() / "labels" / name
    annotations = _kept(kept)
    if annotations is not None:
        return annotations
    annotations = _parsed(path)
    # An unwritable cache only costs time.
    with suppress(OSError), written_whole(kept) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            classes=np.array(annotations.classes),
            images=annotations.images,
            files=np.array(annotations.files),
            labels=annotations.labels,
        )
    return annotations


def _kept(path: Path) -> _Annotations | None:
    """Cached annotations; None if they are absent or damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            classes, images, files, labels = (
                file[name] for name in ("classes", "images", "files", "labels")
            )
    except Exception:  # the reader may raise any exception on a damaged archive
        return None
    fits = labels.dtype == np.bool_ and labels.shape == (len(files), len(classes))
    if not fits or files.dtype.kind != "U" or images.shape != files.shape:
        return None
    return _Annotations(list(map(str, classes)), images, files.tolist(), labels)


def _parsed(path: Path) -> _Annotations:
    """Parses the annotation file.

    Raises:
        DatasetError: If it is not a COCO instances file, has a duplicate id or name, or has an
            annotation of an unknown image or category.
    """
    categories = _named(path, "categories", "name")
    files = _named(path, "images", "file_name")
    columns, rows = sorted(categories), sorted(files)
    column = {category: number for number, category in enumerate(columns)}
    row = {image: number for number, image in enumerate(rows)}
    labels = np.zeros((len(rows), len(columns)), dtype=np.bool_)
    stray: list[str] = []
    for place, entry in _entries(path, "annotations"):
        image, category = (_id(path, place, entry, key) for key in ("image_id", "category_id"))
        if image in row and category in column:
            labels[row[image], column[category]] = True
        else:
            strange = f"image {image}" if image not in row else f"category {category}"
            stray.append(f"{place} is of {strange}, which is not there")
    if stray:
        raise _refused(path, f"{stray[0]} ({len(stray)} such)")
    names = [categories[category] for category in columns]
    return _Annotations(
        names, np.array(rows, dtype=np.int64), [files[image] for image in rows], labels
    )


def _named(path: Path, what: str, key: str) -> dict[int, str]:
    """Names in one list of the file, by id; ids and names are unique."""
    ids: list[int] = []
    names: list[str] = []
    for place, entry in _entries(path, what):
        ids.append(_id(path, place, entry, "id"))
        names.append(entry.get(key, ""))
        if not isinstance(names[-1], str) or not names[-1]:
            raise _refused(path, f"{place} must have a text as '{key}', got {shown(names[-1])}")
    for unique, values in (("id", list(map(str, ids))), (key, names)):
        check_once(f"'{path}': '{unique}' of '{what}'", values, f"{what}[{{}}]".format)
    return dict(zip(ids, names, strict=True))


def _entries(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of one list of the file, each with its place for messages.

    Raises:
        DatasetError: If the list is empty, or an element is not an object.
    """
    empty = True
    for number, entry in enumerate(items(path, what)):
        if not isinstance(entry, dict):
            raise _refused(path, f"{what}[{number}] must be an object, got {shown(entry)}")
        empty = False
        yield f"{what}[{number}]", entry
    if empty:
        raise _refused(
            path,
            f"it has no {what}; what is needed is an instances_*.json, no captions_*.json and no "
            "image_info_*.json, which have no labels",
        )


def _id(path: Path, place: str, entry: dict[str, Any], key: str) -> int:
    """Integer id; some programs write it as a string or with a decimal point."""
    value = entry.get(key)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) >= 1 << 63:
        raise _refused(path, f"{place} must have a whole number as '{key}', got {shown(value)}")
    return value


def _refused(path: Path, got: str) -> DatasetError:
    return DatasetError(f"'{path}' must hold COCO's images, annotations and categories; {got}")
