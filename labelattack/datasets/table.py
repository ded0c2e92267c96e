"""User-supplied data: a label file and an image folder, or arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Split, Splits
from labelattack.datasets.dataset_card import Finding, counted
from labelattack.datasets.dataset_name import DatasetName
from labelattack.datasets.division import check_groups, drawn
from labelattack.datasets.image_folders import images_in
from labelattack.datasets.images import ArrayImages, Images
from labelattack.datasets.split_file import NAMES, SplitFile
from labelattack.errors import DatasetError, unknown
from labelattack.files.label_files import read_array
from labelattack.files.records import RECORD_KINDS, open_records
from labelattack.files.storage import FilePath, absolute
from labelattack.labels import Encoding, LabelTable, Layout, read_labels, with_mask
from labelattack.labels.files import read_classes


def _as_paths(text: str) -> str:
    """Absolute paths of folders, divided by semicolons."""
    return ";".join(absolute(part.strip()) for part in text.split(";"))


@register("table")
@dataclass(frozen=True, kw_only=True)
class Table(Dataset):
    """Your own data: a label file, and images from folders or an .npy array.

    Of a CSV, the first column names the image file relative to the folder, every other one is a
    class, and labels are 0 and 1, unless the parameters say otherwise.

    Args:
        labels: Label file: .csv, .tsv, .parquet, .json, .jsonl, .npz or .npy.
        images: Folder with the image files, or several divided by semicolons, or .npy with uint8
            [images, height, width(, 3)].
        layout: wide: a column for each class; lists: a column of label lists; long: a line for
            each label of an image.
        encoding: Values of the labels: binary (1, 0), signed (1, -1, 0=unknown), missing (1, 0,
            -1=unknown), nan (1, 0, empty=unknown).
        unlisted: What a label is that lists or long does not list: negative or unknown.
        image_id: Column of the image names; by default the first of a text file, else image_id.
        column: Column of the labels in lists (default labels) and long (default label).
        value: Column of the values in long; by default value, if there is one.
        sep: What divides a label list in text: a sign, or comma, semicolon, pipe, space, tab.
        ignore: Columns that say nothing about labels, divided by |.
        classes: File with the name of a class a line; another label is then refused.
        mask: File as labels, with 1 for a label that is known and 0 for one that is not.
        splits: File with the columns image_id and split (train, val or test); without it the
            splits are drawn.
        holdout_by: Column of the patient, recording, location ... of an image; of labels or
            splits. No two splits share one.
        stratify: Give drawn splits their share of each class, rarest first.
        val: Share of the images drawn for validation.
        test: Share of the images drawn for testing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the draw.
        name: Name of the data set on boards and in reports.
    """

    source: ClassVar[str] = "yours"

    labels: FilePath
    images: Annotated[str, AfterValidator(_as_paths)]
    layout: Literal["wide", "lists", "long"] = "wide"
    encoding: Encoding = "binary"
    unlisted: Literal["negative", "unknown"] | None = None
    image_id: str = ""
    column: str = ""
    value: str = ""
    sep: str = ""
    ignore: str = ""
    classes: FilePath = ""
    mask: FilePath = ""
    splits: FilePath = ""
    holdout_by: str = ""
    stratify: bool = False
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    name: DatasetName = ""

    def load(self) -> Splits:
        """Reads labels and locates images."""
        if self.splits and self.stratify:
            raise DatasetError("stratify is for drawn splits: leave out stratify, or splits")
        table = self.read()
        given = SplitFile(Path(self.splits), self.holdout_by) if self.splits else None
        rows = None if given is None else given.rows(table.ids)
        whole = self._whole(table, given)
        parts = dict(zip(NAMES, self._drawn(whole) if rows is None else rows, strict=True))
        for name, part in parts.items():
            if not len(part):
                source = f"split file '{self.splits}'" if self.splits else "the draw"
                raise DatasetError(
                    f"{name} must have at least one of the {len(table.ids)} images of "
                    f"'{self.labels}', got none by {source}"
                )
        if whole.groups is not None and rows is not None:
            check_groups(f"split file '{self.splits}'", whole, parts)
        train, val, test = (whole.take(part) for part in parts.values())
        return Splits(table.classes, train, val, test, self.expected_positives)

    def undivided(self) -> tuple[Split, list[str]]:
        """All images with their labels, and the names of the classes; nothing is divided.

        Raises:
            LabelError: If the labels are refused.
            DatasetError: If an image is not there.
        """
        table = self.read()
        return self._whole(table, None), table.classes

    def examine(self) -> list[Finding]:
        """Counts classes, groups, images and known labels; decodes no image."""
        splits = self.load()
        names = ", ".join(splits.classes[:5]) + ", ..." * (len(splits.classes) > 5)
        findings = [counted("classes", None, len(splits.classes))]
        findings[0] = findings[0]._replace(found=f"{findings[0].found}: {names}")
        for name, part in splits.parts.items():
            findings.append(counted(f"{name}: images", None, len(part)))
            if part.groups is not None:
                groups = len(set(part.groups))
                findings.append(counted(f"{name}: groups by {self.holdout_by}", None, groups))
            partly = f" ({100 * part.known_share:.3g} % of all)"
            labels = counted(f"{name}: known labels", None, part.partial.known)
            share = "" if part.partial.is_complete else partly
            about = f"{labels.found}{share}, {part.partial.known_positives:,} positive"
            findings.append(labels._replace(found=about))
        return findings

    def read(self) -> LabelTable:
        """The labels; no image is looked for.

        Raises:
            LabelError: If they are refused.
        """
        layout = Layout(
            kind=self.layout,
            image_id=self.image_id,
            column=self.column,
            value=self.value,
            sep=self.sep,
            unlisted=self.unlisted,
            ignore=tuple(filter(None, self.ignore.split("|"))),
            group=self.holdout_by,
            classes=read_classes(Path(self.classes)) if self.classes else None,
        )
        table = read_labels(Path(self.labels), self.encoding, layout=layout)
        return with_mask(table, Path(self.mask)) if self.mask else table

    def _whole(self, table: LabelTable, given: SplitFile | None) -> Split:
        groups = table.groups
        if groups is None and given is not None:
            groups = given.groups(table.ids)
        if self.holdout_by and groups is None:
            raise self._no_groups(given)
        return Split(self._find_images(table.ids), table.labels, table.ids, groups=groups)

    def _find_images(self, ids: list[str]) -> Images:
        path = Path(self.images)
        if path.suffix == ".npy":
            try:
                pixels = read_array(path)
            except Exception as error:  # the reader may raise any exception on a hostile header
                raise DatasetError(f"image array '{path}' cannot be read: {error}") from error
            return ArrayImages(pixels)
        return images_in([Path(part) for part in self.images.split(";")], ids, self.labels)

    def _drawn(self, whole: Split) -> list[NDArray[np.int64]]:
        return drawn(
            whole,
            self.val,
            self.test,
            self.split_seed,
            "table-splits",
            by_group=whole.groups is not None,
            stratify=self.stratify,
        )

    def _no_groups(self, given: SplitFile | None) -> DatasetError:
        labels = Path(self.labels)
        columns = list(given.columns) if given else []
        if labels.suffix.lower() in RECORD_KINDS:
            columns += open_records(labels).names
        near = str(unknown("column", self.holdout_by, columns)).partition("; ")[2]
        places = f"'{labels}'" + (f" or '{self.splits}'" if given else "")
        return DatasetError(
            f"holdout_by must name a column of {places}, got '{self.holdout_by}'; {near}"
        )
