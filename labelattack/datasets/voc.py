"""Pascal VOC classification, official layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.official import (
    Listing,
    absent,
    assemble,
    entries,
    listed,
    required,
)
from labelattack.datasets.voc_annotations import SIDES as SIDES
from labelattack.datasets.voc_annotations import VocBoxes as VocBoxes
from labelattack.datasets.voc_annotations import VocObjects
from labelattack.errors import DatasetError
from labelattack.files.storage import FilePath, is_file
from labelattack.labels import PartialLabels

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
EXPECTED_POSITIVES = 1.5
_LISTS = {"2007": ("trainval", "test"), "2012": ("train", "val")}
_SIGNS = {"-1": -1, "0": 0, "1": 1, "+1": 1}
_CHECKSUMS = {
    "trainval": "05c61b0e50b4a9dc893c5cf12de81439906d25e2fe144a17e3fcfe304dcaec7f",
    "test": "cfd95120cd534971d2687101874e255663bc029416665f18bbedd34c849a9211",
}


@register("voc")
@dataclass(frozen=True, kw_only=True)
class PascalVoc(Dataset):
    """Pascal VOC 2007 or 2012, 20 classes, read from VOCdevkit/VOC<year>.

    2007 trains on trainval and tests on the official test split; 2012, whose test labels are not
    public, trains on train and tests on val, as the literature does. ``holdout`` of the training
    images are set aside for validation. Objects marked difficult count as absent in training.

    Args:
        year: 2007 or 2012.
        root: Folder that holds VOCdevkit; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        difficult: At evaluation, ``ignore`` leaves difficult cells out (official), ``negative``
            counts them as absent, as many papers do.
        tolerance: Largest share of images that may be missing.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Everingham et al. 2015, host.robots.ox.ac.uk/pascal/VOC"
    references: ClassVar[str] = "everingham2015"

    year: Literal["2007", "2012"] = "2007"
    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    difficult: Literal["ignore", "negative"] = "ignore"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    split_seed: Annotated[int, Field(ge=0)] = 0

    def card(self) -> Card:
        """Official lists of the year."""
        old = self.year == "2007"
        first, second = _LISTS[self.year]
        return Card(
            title=f"Pascal VOC {self.year}, classification",
            labels=len(CLASSES),
            images={first: 5011 if old else 5717, second: 4952 if old else 5823},
            positives_per_image=EXPECTED_POSITIVES,
            splits=f"train and val: {first}, {self.holdout:.0%} held out; test: {second}",
            licence="images under the terms of Flickr; annotations free for research",
            home="http://host.robots.ox.ac.uk/pascal/VOC/",
            layout=tuple(
                f"VOCdevkit/VOC{self.year}/{name}"
                for name in ("ImageSets/Main/*.txt", "JPEGImages/*.jpg", "Annotations/*.xml")
            ),
            checksums=_CHECKSUMS if old else {},
        )

    def load(self) -> Splits:
        """Reads ImageSets/Main and locates the images."""
        listings = [self._read(name) for name in _LISTS[self.year]]
        (learn, test), notes = assemble("voc", self.tolerance, listings)
        train, val = hold_out(learn, self.holdout, self.split_seed, "voc-holdout")
        return Splits(CLASSES, train, val, test, EXPECTED_POSITIVES, notes)

    def examine(self) -> list[Finding]:
        """Compares lists, labels and images with the card."""
        findings = [there(self._folder / name) for name in ("ImageSets/Main", "JPEGImages")]
        if all(finding.fine for finding in findings):
            for name in _LISTS[self.year]:
                listing = self._read(name)
                findings += examined(self.card(), name, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "VOCdevkit" / f"VOC{self.year}"

    def _read(self, split: str) -> Listing:
        ids, first = self._signs(split, CLASSES[0])
        columns = [first]
        for name in CLASSES[1:]:
            others, column = self._signs(split, name, ids)
            if others != ids:
                raise DatasetError(
                    f"'{self._list(split, name)}' must list the same images as "
                    f"'{self._list(split, CLASSES[0])}', got {_difference(ids, others)}"
                )
            columns.append(column)
        signs = np.array(columns, dtype=np.int8).T
        # Difficult objects are left out at evaluation only.
        ignored = np.bool_(self.difficult == "ignore" and split == _LISTS[self.year][1])
        annotations = [self._folder / "Annotations" / f"{name}.xml" for name in ids]
        annotated = any(map(is_file, annotations))
        return Listing(
            name=split,
            images=_pictures(self._folder / "JPEGImages", ids),
            ids=ids,
            labels=PartialLabels(signs == 1, (signs != 0) | ~ignored),
            boxes=VocBoxes(annotations) if annotated else None,
            objects=VocObjects(annotations, CLASSES) if annotated else None,
        )

    def _list(self, split: str, name: str) -> Path:
        return self._folder / "ImageSets" / "Main" / f"{name}_{split}.txt"

    def _signs(
        self, split: str, name: str, known: Sequence[str] = ()
    ) -> tuple[list[str], list[int]]:
        """Images of one class list, and their signs: 1 present, -1 absent, 0 difficult.

        A list equal to ``known`` is not checked for duplicates again.
        """
        path = required("voc", self._list(split, name), self.card().layout)
        ids, signs = [], []
        lines = listed(path, "lines 'image sign'")
        for line in lines:
            image, *rest = line.text.split()
            if len(rest) != 1:
                raise DatasetError(f"'{path}' must hold lines 'image sign', got {line}")
            if rest[0] not in _SIGNS:
                raise DatasetError(f"'{path}' must hold signs -1, 0 or 1, got {line}")
            ids.append(image)
            signs.append(_SIGNS[rest[0]])
        if ids != known:
            check_once(f"'{path}': an image", ids, lambda row: f"line {lines[row].number}")
        return ids, signs


def _difference(ids: list[str], others: list[str]) -> str:
    """Description of the first difference between two lists of images."""
    for row, (one, other) in enumerate(zip(ids, others, strict=False), start=1):
        if one != other:
            return f"'{other}' for '{one}' at image {row}"
    return f"{len(others)} images for {len(ids)}"


def _pictures(folder: Path, ids: list[str]) -> FileImages:
    """Images of a folder, with names that end in ``.jpg``, ``.JPG`` or ``.jpeg``.

    Raises:
        DatasetError: If an id matches two files.
    """
    by_stem = defaultdict(list)
    for entry in entries(folder):
        stem, _, suffix = entry.rpartition(".")
        if suffix.lower() in ("jpg", "jpeg"):
            by_stem[stem].append(entry)

    def file(name: str) -> str:
        official, others = f"{name}.jpg", by_stem.get(name, [])
        if official in others or not others:
            return official
        if len(others) > 1:
            raise DatasetError(
                f"image '{name}' must be one file of '{folder}', got '{others[0]}' and "
                f"'{others[1]}'"
            )
        return others[0]

    return FileImages(folder, [file(name) for name in ids])
