"""Open Images with its human-verified image labels, official layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.images import FileImages, inside
from labelattack.datasets.official import (
    Listing,
    absent,
    assemble,
    listed,
    required,
    without_known,
)
from labelattack.datasets.verified_labels import VerifiedLabels, verified_labels
from labelattack.errors import DatasetError
from labelattack.files.delimited import Delimited
from labelattack.files.storage import FilePath, is_there

_LISTS = ("train", "validation", "test")
_NAMES = ("LabelName", "DisplayName")


@register("openimages")
@dataclass(frozen=True, kw_only=True)
class OpenImages(Dataset):
    """Open Images: image labels that people verified to be right or wrong, all others unknown.

    Trains on the official train images, chooses on validation and tests on test, without a
    hold-out. Labels of classes that are not listed are left out; a note counts them. The labels are
    read as a stream, once, and then kept in the cache folder. Where the official list of images
    lies beside the labels, images without a verified label belong to the dataset too.

    Args:
        release: Release of the labels, v4 or v6; the images are the same.
        classes: File of the classes within openimages/RELEASE, an id such as /m/01g317 at the start
            of each line; default the official list of trainable classes.
        root: Folder that holds openimages; default LABELATTACK_DATA, else ./data.
        tolerance: Largest share of images that may be missing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
    """

    source: ClassVar[str] = "Kuznetsova et al. 2020, storage.googleapis.com/openimages"
    references: ClassVar[str] = "kuznetsova2020"

    release: Literal["v4", "v6"] = "v6"
    classes: str = ""
    root: FilePath = ""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    expected_positives: Annotated[float, Field(gt=0)] | None = None

    def card(self) -> Card:
        """Official lists of the release."""
        here = f"openimages/{self.release}"
        trainable = 7186 if self.release == "v4" else None
        return Card(
            title=f"Open Images {self.release.upper()}, human-verified image labels",
            labels=None if self.classes else trainable,
            images={"validation": 41620, "test": 125436},
            positives_per_image=self.expected_positives,
            splits="train: train; val: validation; test: test",
            licence="annotations CC BY 4.0; images listed as CC BY 2.0",
            home="https://storage.googleapis.com/openimages/web/index.html",
            layout=(
                *(f"{here}/{self._labels(split).name}" for split in _LISTS),
                f"{here}/{self._descriptions.name}",
                f"{here}/{self._class_list.relative_to(self._folder)}",
                *(f"{here}/{self._image_list(split).name} (optional)" for split in _LISTS),
                *(f"openimages/{split}/*.jpg" for split in _LISTS),
            ),
            remarks=(
                "Test labels are partial too: only verified ones count.",
                "The baseline of the V4 paper is averaged over trainable classes with a verified "
                "label in test, about 4,728 of 7,186 (openimages/dataset #81).",
                "Without the lists of images, images are those that the labels name.",
            ),
        )

    def load(self) -> Splits:
        """Reads classes and labels and locates the images."""
        classes = self._classes()
        verified = {split: self._verified(split, classes) for split in _LISTS}
        listings = [self._listing(split, verified[split]) for split in _LISTS]
        (train, val, test), missing = assemble("openimages", self.tolerance, listings)
        parts = {"train": train, "validation": val, "test": test}
        notes = missing + without_known("openimages", parts)
        if any(found.others for found in verified.values()):
            others = ", ".join(f"{found.others} of {name}" for name, found in verified.items())
            notes += (
                f"openimages: labels of classes that '{self._class_list.name}' does not list are "
                f"left out: {others}",
            )
        return Splits(list(classes.values()), train, val, test, self.expected_positives, notes)

    def examine(self) -> list[Finding]:
        """Compares labels and images with the card."""
        files = [self._class_list, self._descriptions, *map(self._labels, _LISTS)]
        findings = [there(path) for path in [*files, *map(self._images, _LISTS)]]
        if all(finding.fine for finding in findings):
            classes, card = self._classes(), self.card()
            for split in _LISTS:
                listing = self._listing(split, self._verified(split, classes))
                # Labels name no image without a label, so only the list can have all images.
                whole = is_there(self._image_list(split))
                about = card if whole else replace(card, images={})
                findings += examined(about, split, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "openimages" / self.release

    @property
    def _prefix(self) -> str:
        return "oidv6-" if self.release == "v6" else ""

    @property
    def _class_list(self) -> Path:
        if self.classes:
            inside(self._folder, [self.classes])
        return self._folder / (self.classes or f"{self._prefix}classes-trainable.txt")

    @property
    def _descriptions(self) -> Path:
        return self._folder / f"{self._prefix}class-descriptions.csv"

    def _labels(self, split: str) -> Path:
        prefix = self._prefix if split == "train" else ""
        return self._folder / f"{prefix}{split}-annotations-human-imagelabels.csv"

    def _image_list(self, split: str) -> Path:
        if split == "train":
            return self._folder / f"{self._prefix}train-images-with-labels-with-rotation.csv"
        return self._folder / f"{split}-images-with-rotation.csv"

    def _images(self, split: str) -> Path:
        return data_root(self.root) / "openimages" / split

    def _classes(self) -> dict[str, str]:
        """Unique name of each class, by its id."""
        layout = self.card().layout
        path = required("openimages", self._class_list, layout)
        lines = listed(path, "ids of classes, a line each")
        lines = lines[1:] if lines and lines[0].text.startswith(_NAMES[0]) else lines
        ids = [line.text.partition(",")[0].strip() for line in lines]
        odd = [line for line, name in zip(lines, ids, strict=True) if not name.startswith("/")]
        if odd or not ids:
            got = f"{odd[0]} ({len(odd)} such)" if odd else "none"
            raise DatasetError(
                f"'{path}' must hold ids of classes such as /m/01g317, a line each, got {got}"
            )
        check_once(f"'{path}': a class", ids, lambda row: f"line {lines[row].number}")
        named = _descriptions(required("openimages", self._descriptions, layout))
        names = {one: named.get(one, one) for one in ids}
        many = Counter(names.values())
        return {one: f"{n} ({one})" if many[n] > 1 else n for one, n in names.items()}

    def _verified(self, split: str, classes: Mapping[str, str]) -> VerifiedLabels:
        labels = required("openimages", self._labels(split), self.card().layout)
        images = self._image_list(split)
        return verified_labels(labels, list(classes), images if is_there(images) else None)

    def _listing(self, split: str, verified: VerifiedLabels) -> Listing:
        folder = required("openimages", self._images(split), self.card().layout)
        ids = [f"{image:016x}" for image in verified.images.tolist()]
        return Listing(split, FileImages(folder, [f"{i}.jpg" for i in ids]), ids, verified.labels)


def _descriptions(path: Path) -> dict[str, str]:
    """Names of classes by id; older releases have no header."""
    try:
        table = Delimited(path, ",")
        if len(table.header.fields) != len(_NAMES):
            raise ValueError(f"line {table.header.line} has {len(table.header.fields)} columns")
        every = [table.header, *table.rows()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' must hold {','.join(_NAMES)}: {error}") from error
    rows = [row for row in every if row.fields != [*_NAMES]]
    ids = [row.fields[0].strip() for row in rows]
    check_once(f"'{path}': a class", ids, lambda row: f"line {rows[row].line}")
    names = [row.fields[1].strip() for row in rows]
    return {one: name or one for one, name in zip(ids, names, strict=True)}
