"""Visual Genome with 500 or 200 classes, in the files that SSGRL released."""

from __future__ import annotations

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
from labelattack.datasets.json_stream import members
from labelattack.datasets.official import Listing, absent, assemble, listed, required
from labelattack.errors import DatasetError, shown
from labelattack.files.storage import FilePath
from labelattack.labels import BoolArray, PartialLabels

_SIZES = {"train": 82904, "test": 10000}
_CORRUPT = frozenset({"1592.jpg", "1722.jpg", "4616.jpg", "4617.jpg"})


@register("visual-genome")
@dataclass(frozen=True, kw_only=True)
class VisualGenome(Dataset):
    """VG-500 or VG-200: Visual Genome with complete labels of 500 or 200 classes.

    Lists and labels are those that SSGRL released, without names of classes: a class is called
    ``class 17`` after its index. Four corrupt images are left out. ``holdout`` of the training
    images are set aside for validation.

    Args:
        classes: Number of classes, 500 or 200; the lists of images are the same.
        root: Folder that holds VG; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        stratify: Share the positives of each class in the hold-out too, rarest classes first.
        tolerance: Largest share of images that may be missing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Krishna et al. 2017; lists of Chen et al. 2019 (SSGRL)"
    references: ClassVar[str] = "krishna2017 chen2019"

    classes: Literal["500", "200"] = "500"
    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    stratify: bool = False
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0

    def card(self) -> Card:
        """Released lists."""
        return Card(
            title=f"Visual Genome, {self.classes} classes (VG-{self.classes})",
            labels=int(self.classes),
            images=_SIZES,
            positives_per_image=self.expected_positives,
            splits=f"train and val: train list, {self.holdout:.0%} held out; test: test list",
            licence="see the download page",
            home="https://github.com/HCPLab-SYSU/SSGRL (lists and labels), "
            "https://visualgenome.org (images)",
            layout=(
                *(f"VG/{self._list(split).name}" for split in _SIZES),
                f"VG/{self._labels.name}",
                "VG/VG_100K/*.jpg (both parts of the images in one folder)",
            ),
            remarks=(
                "The released training list has 82,904 images; papers print 98,249.",
                "No names of classes were released, so they are called by their index.",
                f"Four images are corrupt and left out: {', '.join(sorted(_CORRUPT))}.",
            ),
        )

    def load(self) -> Splits:
        """Reads lists and labels and locates the images."""
        listings, left_out = [], []
        for listing in self._read():
            corrupt = np.isin(listing.ids, list(_CORRUPT))
            left_out += np.array(listing.ids)[corrupt].tolist()
            listings.append(_take(listing, np.flatnonzero(~corrupt)))
        (learn, test), notes = assemble("visual-genome", self.tolerance, listings)
        if left_out:
            names = ", ".join(left_out)
            notes += (f"visual-genome: {len(left_out)} corrupt images are left out: {names}",)
        train, val = hold_out(
            learn, self.holdout, self.split_seed, "visual-genome-holdout", stratify=self.stratify
        )
        classes = [f"class {index}" for index in range(int(self.classes))]
        return Splits(classes, train, val, test, self.expected_positives, notes)

    def examine(self) -> list[Finding]:
        """Compares lists, labels and images with the card."""
        paths = [*map(self._list, _SIZES), self._labels, self._images]
        findings = [there(path) for path in paths]
        if all(finding.fine for finding in findings):
            for listing in self._read():
                missing = [name for name in absent(listing) if name not in _CORRUPT]
                findings += examined(self.card(), listing.name, listing.labels, missing)
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "VG"

    @property
    def _labels(self) -> Path:
        return self._folder / f"vg_category_{self.classes}_labels_index.json"

    @property
    def _images(self) -> Path:
        return self._folder / "VG_100K"

    def _list(self, split: str) -> Path:
        return self._folder / f"{split}_list_500.txt"

    def _read(self) -> list[Listing]:
        """The two lists with their labels, corrupt images included."""
        layout = self.card().layout
        paths = [required("visual-genome", self._list(split), layout) for split in _SIZES]
        folder = required("visual-genome", self._images, layout)
        lines = {path.name: listed(path, "names of images, a line each") for path in paths}
        places = [f"line {line.number} of {name}" for name in lines for line in lines[name]]
        names = [line.text for some in lines.values() for line in some]
        check_once(f"'{self._folder}': an image of the lists", names, places.__getitem__)
        path = required("visual-genome", self._labels, layout)
        labels = _matrix(path, names, places, int(self.classes))
        ends = np.cumsum([len(some) for some in lines.values()])
        parts = zip(_SIZES, np.split(np.arange(len(names)), ends[:-1]), strict=True)
        return [
            Listing(split, FileImages(folder, ids), ids, PartialLabels.full(labels[rows]))
            for split, rows in parts
            for ids in [[names[row] for row in rows]]
        ]


def _take(listing: Listing, rows: NDArray[np.int64]) -> Listing:
    ids = [listing.ids[row] for row in rows]
    return Listing(listing.name, listing.images.take(rows), ids, listing.labels.take(rows))


def _matrix(path: Path, names: list[str], places: list[str], width: int) -> BoolArray:
    """Labels of the listed images.

    Args:
        path: File of class indices by file name.
        names: The listed images.
        places: Place of each in its list, for messages.
        width: Number of classes.

    Raises:
        DatasetError: If an image has no entry or two, or an entry is not a list of indices.
    """
    row = {name: number for number, name in enumerate(names)}
    labels = np.zeros((len(names), width), dtype=np.bool_)
    seen: set[str] = set()
    faults: list[str] = []
    for name, indices in members(path):
        if name in seen:
            faults.append(f"'{name}' twice")
        seen.add(name)
        fault = _fault(indices, width)
        if fault:
            faults.append(f"{fault} of '{name}'")
        elif name in row:
            labels[row[name], indices] = True
    if faults:
        raise DatasetError(
            f"'{path}' must hold, once for each image, a list of class indices 0..{width - 1}, got "
            f"{faults[0]} ({len(faults)} such)"
        )
    lacking = [number for number, name in enumerate(names) if name not in seen]
    if lacking:
        first = lacking[0]
        raise DatasetError(
            f"'{path}' must have the labels of every listed image, got none of '{names[first]}' at "
            f"{places[first]} ({len(lacking)} such)"
        )
    return labels


def _fault(indices: object, width: int) -> str:
    """Description of the first fault in a list of class indices; empty if there is none."""
    if not isinstance(indices, list):
        return shown(indices)
    for number, index in enumerate(indices):
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < width:
            return f"{shown(index)} at [{number}]"
    return ""
