"""NIH ChestX-ray14, official layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.csv_stream import records
from labelattack.datasets.dataset_card import Card, Finding, counted, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.official import (
    Listing,
    absent,
    assemble,
    check_groups_apart,
    entries,
    listed,
    required,
)
from labelattack.errors import DatasetError, unknown
from labelattack.files.content import content_digest
from labelattack.files.storage import FilePath
from labelattack.labels import BoolArray, PartialLabels

CLASSES = (
    "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax "
    "Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"
).split()
NO_FINDING = "No Finding"
_ROWS = 112120
_LISTS = ("train_val_list.txt", "test_list.txt")
_FILES = {"2017": "Data_Entry_2017.csv", "v2020": "Data_Entry_2017_v2020.csv"}


class _Table(NamedTuple):
    """The label file: row of each image, patient of each row, labels of each row."""

    rows: dict[str, int]
    patients: list[str]
    labels: BoolArray


@register("nih-chestxray14")
@dataclass(frozen=True, kw_only=True)
class NihChestXray14(Dataset):
    """NIH ChestX-ray14, 14 findings in chest radiographs, official lists, divided by patient.

    Labels were read from reports by a program; they are complete. ``holdout`` of train_val_list.txt
    is set aside for validation, whole patients at a time. Versions of the label file differ, so a
    note gives the hash of yours.

    Args:
        labels: Label file: ``2017`` (Data_Entry_2017.csv) or ``v2020``
            (Data_Entry_2017_v2020.csv).
        root: Folder that holds nih-chestxray14; default LABELATTACK_DATA, else ./data.
        holdout: Share of the images of train_val_list.txt used for validation.
        holdout_by: Whether a ``patient`` is in training or validation with all images, or each
            ``image`` is drawn by itself, so that patients are in both.
        tolerance: Largest share of images that may be missing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the hold-out.
        stratify: Whether the hold-out has its share of the positives of each class too.
    """

    source: ClassVar[str] = "Wang et al. 2017, CVPR"
    references: ClassVar[str] = "wang2017"

    labels: Literal["2017", "v2020"] = "v2020"
    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    holdout_by: Literal["patient", "image"] = "patient"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    stratify: bool = False

    def card(self) -> Card:
        """Official lists."""
        return Card(
            title="NIH ChestX-ray14, 14 findings",
            labels=len(CLASSES),
            images={"train_val_list.txt": 86524, "test_list.txt": 25596},
            positives_per_image=self.expected_positives,
            splits=f"train and val: train_val_list.txt, {self.holdout:.0%} held out by "
            f"{self.holdout_by}; test: test_list.txt",
            home="https://nihcc.app.box.com/v/ChestXray-NIHCC",
            layout=(
                *(f"nih-chestxray14/{name}" for name in (_FILES[self.labels], *_LISTS)),
                "nih-chestxray14/images_001/images/*.png to images_012/images/*.png, or "
                "nih-chestxray14/images/*.png",
            ),
            remarks=(
                "versions of the label file differ; say the hash of yours with your numbers",
                "many papers draw their own split, often by image; their numbers must not be mixed "
                "with those of the official lists",
            ),
        )

    def load(self) -> Splits:
        """Reads the label file and both lists and locates the images."""
        _, (learned, tested) = self._read()
        check_groups_apart("patients", learned, tested)
        (learn, test), notes = assemble("nih-chestxray14", self.tolerance, [learned, tested])
        train, val = hold_out(
            learn,
            self.holdout,
            self.split_seed,
            "nih-chestxray14-holdout",
            by_group=self.holdout_by == "patient",
            stratify=self.stratify,
        )
        version = f"labels of {_FILES[self.labels]}, SHA-256 {self._hash()}"
        return Splits(CLASSES, train, val, test, self.expected_positives, (version, *notes))

    def examine(self) -> list[Finding]:
        """Compares label file, lists and images with the card."""
        names = (_FILES[self.labels], *_LISTS)
        findings = [there(self._folder / name) for name in names]
        findings.append(there(next(iter(_image_folders(self._folder)), self._folder / "images")))
        if all(finding.fine for finding in findings):
            findings.append(Finding(f"{names[0]}: SHA-256", "", self._hash(), fine=True))
            table, listings = self._read()
            findings.append(counted(f"{names[0]}: rows", _ROWS, len(table.rows)))
            for listing in listings:
                findings += examined(self.card(), listing.name, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "nih-chestxray14"

    def _required(self, name: str) -> Path:
        return required("nih-chestxray14", self._folder / name, self.card().layout)

    def _hash(self) -> str:
        """First digits of the hash of the label file's content."""
        path = self._required(_FILES[self.labels])
        try:
            return content_digest(path)[:12]
        except OSError as error:
            raise DatasetError(f"'{path}' cannot be read: {error}") from error

    def _read(self) -> tuple[_Table, list[Listing]]:
        """The label file and the two lists."""
        table = _read_table(self._required(_FILES[self.labels]))
        files = _files(self._folder)
        return table, [self._listing(name, table, files) for name in _LISTS]

    def _listing(self, name: str, table: _Table, files: dict[str, str]) -> Listing:
        path = self._required(name)
        lines = listed(path, "names of images, a line each")
        ids = [line.text for line in lines]
        check_once(f"'{path}': an image", ids, lambda row: f"line {lines[row].number}")
        strange = [line for line in lines if line.text not in table.rows]
        if strange:
            raise DatasetError(
                f"'{path}' must list images of '{_FILES[self.labels]}', got {strange[0]} "
                f"({len(strange)} such)"
            )
        rows = np.array([table.rows[image] for image in ids], dtype=np.int64)
        return Listing(
            name=name,
            images=FileImages(self._folder, [files.get(i, f"images/{i}") for i in ids]),
            ids=ids,
            labels=PartialLabels.full(table.labels[rows]),
            groups=[table.patients[row] for row in rows],
        )


def _read_table(path: Path) -> _Table:
    """Reads the label file, of which the first columns are used.

    The header of the official files has commas within the names of the last columns, which divide
    these names as they divide the values, and ends with a comma, as every row does.

    Raises:
        DatasetError: If an image is listed twice, a patient is not named, or a label is no finding.
    """
    images, patients, lines = [], [], []
    marks = bytearray()
    faults: list[str] = []
    for line, (image, findings, patient) in records(
        path, ("Image Index", "Finding Labels", "Patient ID")
    ):
        row, fault = _row(findings.split("|"))
        if fault or not patient:
            faults.append(f"line {line}: {fault or 'no patient'}")
        images.append(image)
        patients.append(patient)
        lines.append(line)
        marks.extend(row)
    if faults:
        raise DatasetError(
            f"'{path}' must name a patient, and findings joined by '|' or '{NO_FINDING}', got "
            f"{faults[0]} ({len(faults)} such lines)"
        )
    check_once(f"'{path}': an image", images, lambda row: f"line {lines[row]}")
    labels = np.frombuffer(bytes(marks), dtype=np.bool_).reshape(len(images), len(CLASSES))
    return _Table({image: row for row, image in enumerate(images)}, patients, labels)


def _row(findings: Sequence[str]) -> tuple[list[bool], str]:
    """Labels of an image, and a fault if its findings are none."""
    strange = [name for name in findings if name not in (*CLASSES, NO_FINDING)]
    fault = str(unknown("finding", strange[0], (*CLASSES, NO_FINDING))) if strange else ""
    if NO_FINDING in findings and len(findings) > 1:
        fault = fault or f"'{NO_FINDING}' beside '{'|'.join(findings)}'"
    return [name in findings for name in CLASSES], fault


def _files(folder: Path) -> dict[str, str]:
    """Path of each image below the folder: of ``images`` and ``images_001/images`` to ``012``.

    Raises:
        DatasetError: If an image lies in two of them.
    """
    found: dict[str, str] = {}
    for place in _image_folders(folder):
        name = place.relative_to(folder).as_posix()
        for image in entries(place):
            other = found.setdefault(image, f"{name}/{image}")
            if other != f"{name}/{image}":
                raise DatasetError(
                    f"image '{image}' must be one file of '{folder}', got '{other}' and "
                    f"'{name}/{image}'"
                )
    return found


def _image_folders(folder: Path) -> list[Path]:
    """The folders of images that exist."""
    places = [folder / "images", *(folder / f"images_{n:03d}" / "images" for n in range(1, 13))]
    return [place for place in places if place.is_dir()]
