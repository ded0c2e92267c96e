"""COCO as a multi-label classification dataset, official layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, data_root
from labelattack.datasets.coco_json import CocoJson, check_same_categories
from labelattack.datasets.coco_objects import CocoObjects
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.label_cache import Arrays, cached, check_texts
from labelattack.datasets.official import Listing, absent, assemble, required
from labelattack.files.storage import FilePath
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.objects import SomeObjects

EXPECTED_POSITIVES = 2.9
# Number of listed images, and of images with at least one annotation.
_SIZES = {
    "train2014": (82783, 82081),
    "val2014": (40504, 40137),
    "train2017": (118287, 117266),
    "val2017": (5000, 4952),
}
_CHECKSUMS = {"train2014": "30d99e7c0bf826050cd0efc95a72453069eceffb928662033620e98cb8f4de16"}
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
    references: ClassVar[str] = "lin2014"

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
        check_same_categories(self._folder / "annotations", *classes)
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
        images = len(annotations.labels)
        rows = np.arange(images)
        if self.empty == "drop":
            rows = rows[annotations.labels.any(axis=1)]
        listing = Listing(
            name=split,
            images=FileImages(self._folder / split, [annotations.files[row] for row in rows]),
            ids=[f"{split}/{annotations.images[row]}" for row in rows],
            labels=PartialLabels.full(annotations.labels[rows]),
            objects=SomeObjects(CocoObjects("coco", _json(path), "file_name", True, images), rows),
        )
        return listing, annotations.classes


def _cached(path: Path) -> _Annotations:
    """Annotations, from the cache folder if a file of this content was read before."""
    return cached("coco", [path], [_CHECKS], lambda: _parsed(path), _annotations)


def _annotations(arrays: Arrays) -> _Annotations:
    """Annotations of the arrays in the cache."""
    classes, images, files, labels = (
        arrays[name] for name in ("classes", "images", "files", "labels")
    )
    check_texts(classes, files)
    fits = labels.dtype == np.bool_ and labels.shape == (len(files), len(classes))
    if not fits or images.shape != files.shape:
        raise ValueError(f"labels must fit their names, got {labels.dtype} {labels.shape}")
    return _Annotations(classes.tolist(), images, files.tolist(), labels)


def _json(path: Path) -> CocoJson:
    return CocoJson(
        path,
        "COCO's images, annotations and categories",
        "what is needed is an instances_*.json, no captions_*.json and no image_info_*.json, "
        "which have no labels",
    )


def _parsed(path: Path) -> Arrays:
    """Parses the annotation file.

    Raises:
        DatasetError: If it is not a COCO instances file, has a duplicate id or name, or has an
            annotation of an unknown image or category.
    """
    file = _json(path)
    categories = file.named("categories", "name")
    files = file.named("images", "file_name")
    columns, rows = sorted(categories), sorted(files)
    row = {image: number for number, image in enumerate(rows)}
    column = {category: number for number, category in enumerate(columns)}
    labels = np.zeros((len(rows), len(columns)), dtype=np.bool_)
    labels[file.annotated(row, column)] = True
    return {
        "classes": np.array([categories[category] for category in columns]),
        "images": np.array(rows, dtype=np.int64),
        "files": np.array([files[image] for image in rows]),
        "labels": labels,
    }
