"""CheXpert, official layout."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.csv_stream import records
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages
from labelattack.datasets.official import (
    Listing,
    absent,
    assemble,
    check_groups_apart,
    required,
)
from labelattack.errors import DatasetError
from labelattack.files.storage import FilePath
from labelattack.labels import PartialLabels

CLASSES = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
    "Support Devices"
).split(",")
_LISTS = ("train.csv", "valid.csv")
_FOLDERS = {"small": "CheXpert-v1.0-small", "full": "CheXpert-v1.0"}
_ABSENT, _PRESENT, _UNCERTAIN, _EMPTY = range(4)
_CODES = {
    "0.0": _ABSENT, "0": _ABSENT, "1.0": _PRESENT, "1": _PRESENT, "-1.0": _UNCERTAIN,
    "-1": _UNCERTAIN, "": _EMPTY,
}  # fmt: skip
_CHOICES = {
    "uncertain": "positive (U-Ones), negative (U-Zeros) or ignore (U-Ignore)",
    "empty": "negative (as the authors train) or ignore",
}
_PATIENT = re.compile(r"patient\d+", re.ASCII)


class _Table(NamedTuple):
    """One CSV: files, patients, and labels as codes, uint8 ``[images, 14]``."""

    files: list[str]
    patients: list[str]
    codes: NDArray[np.uint8]


@register("chexpert")
@dataclass(frozen=True, kw_only=True)
class CheXpert(Dataset):
    """CheXpert, 14 findings in chest radiographs, read from their reports by a program.

    A label of the training list is 1 (present), 0 (absent), -1 (the report is uncertain) or empty
    (the report does not mention it). Papers disagree on the last two, so both must be chosen.
    ``holdout`` of the training list is set aside for validation, whole patients at a time. The test
    split is valid.csv, labelled by radiologists; what is neither 1 nor 0 there is left out,
    whatever is chosen. Labels are taken as they are, also where "No Finding" is 1.

    Args:
        uncertain: An uncertain label of the training list is ``positive`` (U-Ones), ``negative``
            (U-Zeros) or left out as unknown, ``ignore`` (U-Ignore). Must be chosen.
        empty: A finding that is not mentioned is ``negative``, as the authors train, or left out as
            unknown, ``ignore``. Must be chosen.
        size: The ``small`` copy (CheXpert-v1.0-small) or the ``full`` one (CheXpert-v1.0).
        root: Folder that holds it; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        holdout_by: Whether a ``patient`` is in training or validation with all images, or each
            ``image`` is drawn by itself, so that patients are in both.
        tolerance: Largest share of images that may be missing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the hold-out.
        stratify: Whether the hold-out has its share of the positives of each class too.
    """

    source: ClassVar[str] = "Irvin et al. 2019, AAAI"
    references: ClassVar[str] = "irvin2019"

    uncertain: Literal["positive", "negative", "ignore"] | None = None
    empty: Literal["negative", "ignore"] | None = None
    size: Literal["small", "full"] = "small"
    root: FilePath = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    holdout_by: Literal["patient", "image"] = "patient"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    stratify: bool = False

    def card(self) -> Card:
        """Official lists."""
        folder = _FOLDERS[self.size]
        return Card(
            title="CheXpert, 14 findings",
            labels=len(CLASSES),
            images={"train.csv": 223414, "valid.csv": 234},
            positives_per_image=self.expected_positives,
            splits=f"train and val: train.csv, {self.holdout:.0%} held out by {self.holdout_by}; "
            "test: valid.csv",
            licence="Stanford University Dataset Research Use Agreement",
            home="https://stanfordmlgroup.github.io/competitions/chexpert/",
            layout=(
                *(f"{folder}/{name}" for name in _LISTS),
                *(f"{folder}/{part}/patient*/study*/*.jpg" for part in ("train", "valid")),
            ),
            remarks=(
                f"an uncertain label (-1) must be chosen to be uncertain={_CHOICES['uncertain']}",
                f"an empty label (not mentioned) must be chosen to be empty={_CHOICES['empty']}",
            ),
        )

    def load(self) -> Splits:
        """Reads both lists and locates the images.

        Raises:
            DatasetError: Also if the value of uncertain or empty labels is not chosen.
        """
        left = [f"'{name}' must be {of}" for name, of in _CHOICES.items() if not vars(self)[name]]
        if left:
            raise DatasetError(f"dataset 'chexpert': {', and '.join(left)}; got none")
        train_list, valid_list = (self._read(name) for name in _LISTS)
        check_groups_apart("patients", train_list, valid_list)
        (learn, test), notes = assemble("chexpert", self.tolerance, [train_list, valid_list])
        train, val = hold_out(
            learn,
            self.holdout,
            self.split_seed,
            "chexpert-holdout",
            by_group=self.holdout_by == "patient",
            stratify=self.stratify,
        )
        return Splits(CLASSES, train, val, test, self.expected_positives, notes)

    def examine(self) -> list[Finding]:
        """Compares lists and images with the card."""
        findings = [there(self._folder / name) for name in (*_LISTS, "train", "valid")]
        if all(finding.fine for finding in findings):
            for name in _LISTS:
                listing = self._read(name)
                findings += examined(self.card(), name, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / _FOLDERS[self.size]

    def _read(self, name: str) -> Listing:
        path = required("chexpert", self._folder / name, self.card().layout)
        table = _read_table(path)
        return Listing(
            name=name,
            images=FileImages(self._folder, table.files),
            ids=table.files,
            labels=self._labels(table.codes, training=name == _LISTS[0]),
            groups=table.patients,
        )

    def _labels(self, codes: NDArray[np.uint8], *, training: bool) -> PartialLabels:
        values, observed = codes == _PRESENT, codes <= _PRESENT
        if training:
            for code, choice in ((_UNCERTAIN, self.uncertain), (_EMPTY, self.empty)):
                values |= (codes == code) & np.bool_(choice == "positive")
                observed |= (codes == code) & np.bool_(choice in ("positive", "negative"))
        return PartialLabels(values, observed)


def _read_table(path: Path) -> _Table:
    """Reads one list.

    Raises:
        DatasetError: If it lists an image twice, a path or a label cannot be read, or it is empty.
    """
    files: list[str] = []
    lines: list[int] = []
    codes = bytearray()
    faults: list[str] = []
    for line, (file, *labels) in records(path, ("Path", *CLASSES)):
        files.append(file)
        lines.append(line)
        row = [_CODES.get(label) for label in labels]
        if None in row:
            column = row.index(None)
            faults.append(f"'{labels[column]}' at line {line}, column '{CLASSES[column]}'")
        else:
            codes.extend(code for code in row if code is not None)
    if faults:
        raise DatasetError(
            f"'{path}' must hold labels 1.0, 0.0, -1.0 or nothing, got {faults[0]} "
            f"({len(faults)} such lines)"
        )
    check_once(f"'{path}': an image", files, lambda row: f"line {lines[row]}")
    places = [_place(path, line, file) for line, file in zip(lines, files, strict=True)]
    matrix = np.frombuffer(bytes(codes), dtype=np.uint8).reshape(len(files), len(CLASSES))
    return _Table([file for file, _ in places], [patient for _, patient in places], matrix)


def _place(path: Path, line: int, file: str) -> tuple[str, str]:
    """Path of an image below the folder of the dataset, and its patient.

    Paths begin with the name of the folder, which may be that of the other copy.
    """
    folder, _, rest = file.partition("/")
    patients = [part for part in rest.split("/") if _PATIENT.fullmatch(part)]
    if folder not in _FOLDERS.values() or len(patients) != 1:
        raise DatasetError(
            f"'{path}' must hold paths as '{_FOLDERS['small']}/train/patient00001/study1/"
            f"view1_frontal.jpg', got '{file}' at line {line}"
        )
    return rest, patients[0]
