"""LVIS as a multi-label dataset of partial labels, official layout."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.coco_json import CocoJson, check_same_categories
from labelattack.datasets.coco_objects import CocoObjects
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.label_cache import Arrays, cached, check_texts
from labelattack.datasets.official import Listing, absent, assemble, required, without_known
from labelattack.errors import shown
from labelattack.files.storage import FilePath
from labelattack.labels import PartialLabels

_SIZES = {"train": 100170, "val": 19809}
_FOLDERS = ("train2017", "val2017")
_CHECKS = 1
"""Version of the checks that cached labels have passed; raised with each new check."""


class _Annotations(NamedTuple):
    """One ``lvis_v1_*.json``: names of categories, files of images, and their labels."""

    classes: list[str]
    files: list[str]
    labels: PartialLabels


@register("lvis")
@dataclass(frozen=True, kw_only=True)
class Lvis(Dataset):
    """LVIS v1: 1,203 kinds of objects on the images of COCO 2017, most labels not known.

    An annotated category is a known positive, one among an image's ``neg_category_ids`` a known
    negative, and every other is not known. ``not_exhaustive_category_ids`` change nothing: they say
    that not all instances are marked. Trains on the official train images, ``holdout`` of which are
    set aside for validation, and tests on the official val images. The annotations are read as a
    stream, once; the labels are then kept in the cache folder.

    Args:
        root: Folder that holds lvis and coco; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        stratify: Share the positives of each class in the hold-out too, rarest classes first.
        tolerance: Largest share of images that may be missing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Gupta et al. 2019, lvisdataset.org"
    references: ClassVar[str] = "gupta2019"

    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    stratify: bool = False
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0

    def card(self) -> Card:
        """Official lists of version 1."""
        return Card(
            title="LVIS v1, object instances as labels",
            labels=1203,
            images=_SIZES,
            positives_per_image=self.expected_positives,
            splits=f"train and val: train, {self.holdout:.0%} held out; test: val",
            licence="annotations CC BY 4.0; images of COCO under the terms of Flickr",
            home="https://www.lvisdataset.org/dataset",
            layout=(
                *(f"lvis/{self._annotations(split).name}" for split in _SIZES),
                *(f"coco/{folder}/*.jpg" for folder in _FOLDERS),
            ),
            remarks=(
                "Images of both lists are in train2017 or val2017 of COCO, as their coco_url says.",
                "A category is known to be absent only where neg_category_ids lists it.",
            ),
        )

    def load(self) -> Splits:
        """Reads the annotations and locates the images."""
        (train, classes), (test, others) = map(self._read, _SIZES)
        check_same_categories(self._root / "lvis", classes, others)
        parts, notes = assemble("lvis", self.tolerance, [train, test])
        notes += without_known("lvis", dict(zip(_SIZES, parts, strict=True)))
        learned, chosen = hold_out(
            parts[0], self.holdout, self.split_seed, "lvis-holdout", stratify=self.stratify
        )
        return Splits(classes, learned, chosen, parts[1], self.expected_positives, notes)

    def examine(self) -> list[Finding]:
        """Compares annotations and images with the card."""
        folders = [there(self._root / "coco" / folder) for folder in _FOLDERS]
        findings = folders + [there(self._annotations(split)) for split in _SIZES]
        if all(finding.fine for finding in findings):
            for split in _SIZES:
                listing, _ = self._read(split)
                findings += examined(self.card(), split, listing.labels, absent(listing))
        return findings

    @property
    def _root(self) -> Path:
        return data_root(self.root)

    @property
    def _folder(self) -> Path:
        return self._root / "lvis"

    def _annotations(self, split: str) -> Path:
        return self._root / "lvis" / f"lvis_v1_{split}.json"

    def _read(self, split: str) -> tuple[Listing, list[str]]:
        layout = self.card().layout
        path = required("lvis", self._annotations(split), layout)
        for folder in _FOLDERS:
            required("lvis", self._root / "coco" / folder, layout)
        found = cached("lvis", [path], [_CHECKS], lambda: _parsed(path), _annotations)
        images = FileImages(self._root / "coco", found.files)
        objects = CocoObjects("lvis", _json(path), "coco_url", False, len(images))
        listing = Listing(split, images, found.files, found.labels, objects=objects)
        return listing, found.classes


def _annotations(arrays: Arrays) -> _Annotations:
    """Annotations of the arrays in the cache."""
    classes, files = arrays["classes"], arrays["files"]
    check_texts(classes, files)
    entries = (arrays[name] for name in ("rows", "columns", "positive"))
    labels = PartialLabels.from_entries((len(files), len(classes)), *entries)
    return _Annotations(classes.tolist(), files.tolist(), labels)


def _json(path: Path) -> CocoJson:
    return CocoJson(
        path,
        "LVIS's images, annotations and categories",
        "what is needed is an lvis_v1_train.json or lvis_v1_val.json, no "
        "lvis_v1_image_info_*.json, which has no labels",
    )


def _parsed(path: Path) -> Arrays:
    """Parses the annotation file: names, and row, column and value of each known entry.

    Raises:
        DatasetError: If it is not of LVIS, has a duplicate id or name, refers to an image or a
            category that is not there, or says of a category both that it is there and that it is
            not.
    """
    file = _json(path)
    categories = file.named("categories", "name")
    columns = {category: number for number, category in enumerate(sorted(categories))}
    files: list[str] = []
    absent_rows, absent_columns = array("q"), array("q")
    stray: list[str] = []

    def also(place: str, entry: dict[str, Any]) -> None:
        for category in _absent_categories(file, place, entry):
            if category in columns:
                absent_rows.append(len(files))
                absent_columns.append(columns[category])
            else:
                stray.append(f"{place} lists category {category}, which is not there, as absent")
        files.append(_file(file, place, entry["coco_url"]))

    images = file.named("images", "coco_url", also)
    if stray:
        raise file.refused(f"{stray[0]} ({len(stray)} such)")
    check_once(f"'{path}': a file of 'coco_url'", files, "images[{}]".format)
    rows, annotated = file.annotated({image: n for n, image in enumerate(images)}, columns)
    width = len(columns)
    positive = np.unique(rows * width + annotated)
    negative = np.unique(np.array(absent_rows) * width + np.array(absent_columns))
    names = [categories[category] for category in columns]
    _check_apart(file, positive, negative, names)
    places = np.concatenate([positive, negative]).astype(np.int64)
    return {
        "classes": np.array(names),
        "files": np.array(files),
        "rows": places // width,
        "columns": places % width,
        "positive": np.arange(len(places)) < len(positive),
    }


def _absent_categories(file: CocoJson, place: str, entry: dict[str, Any]) -> list[int]:
    """Ids of the categories that an image lists as absent."""
    listed = entry.get("neg_category_ids")
    if not isinstance(listed, list):
        raise file.refused(f"{place} must have a list as 'neg_category_ids', got {shown(listed)}")
    return [file.number(place, category, "neg_category_ids") for category in listed]


def _file(file: CocoJson, place: str, url: str) -> str:
    """Folder and name of an image, the last two parts of its address."""
    name = "/".join(url.split("/")[-2:])
    if not name.startswith(tuple(f"{folder}/" for folder in _FOLDERS)):
        raise file.refused(
            f"'coco_url' of {place} must end in {' or '.join(f'{f}/FILE' for f in _FOLDERS)}, "
            f"got {shown(url)}"
        )
    return name


def _check_apart(
    file: CocoJson, positive: NDArray[np.int64], negative: NDArray[np.int64], names: list[str]
) -> None:
    """Raises DatasetError if a category is annotated on an image that lists it as absent."""
    both = np.intersect1d(positive, negative)
    if len(both):
        row, column = divmod(int(both[0]), len(names))
        raise file.refused(
            f"images[{row}] has category '{names[column]}' in its 'neg_category_ids' and in an "
            f"annotation ({len(both)} such)"
        )
