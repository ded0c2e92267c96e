"""User-supplied data: a label file and an image folder, or arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Split, Splits, check_once
from labelattack.datasets.images import ArrayImages, FileImages, Images
from labelattack.datasets.official import absent_rows, looked_for
from labelattack.errors import DatasetError
from labelattack.files.delimited import read_delimited
from labelattack.files.label_files import read_array
from labelattack.files.names import canonical
from labelattack.files.storage import FilePath, is_there
from labelattack.labels import read_labels
from labelattack.seeding import permutation

_NAMES = ("train", "val", "test")


@register("table")
@dataclass(frozen=True, kw_only=True)
class Table(Dataset):
    """Your own data: labels from .csv, .npy or .npz; images from a folder or an .npy array.

    Labels are 0 and 1. In a CSV, the first column names the image file relative to the folder;
    cells are divided by commas, semicolons or tabs.

    Args:
        labels: Label file.
        images: Folder with the image files, or .npy with uint8 [images, height, width(, 3)].
        splits: CSV with the columns image_id and split (train, val or test); without it the splits
            are drawn.
        val: Share of the images drawn for validation.
        test: Share of the images drawn for testing.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the draw.
    """

    source: ClassVar[str] = "yours"

    labels: FilePath
    images: FilePath
    splits: FilePath = ""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Splits:
        """Reads labels and locates images."""
        table = read_labels(Path(self.labels), "binary")
        whole = Split(self._find_images(table.ids), table.labels, table.ids)
        rows = self._given(table.ids) if self.splits else self._drawn(len(table.ids))
        for name, part in zip(_NAMES, rows, strict=True):
            if not len(part):
                source = f"split file '{self.splits}'" if self.splits else "the draw"
                raise DatasetError(
                    f"{name} must have at least one of the {len(table.ids)} images of "
                    f"'{self.labels}', got none by {source}"
                )
        train, val, test = (whole.take(r) for r in rows)
        return Splits(table.classes, train, val, test, self.expected_positives)

    def _find_images(self, ids: list[str]) -> Images:
        path = Path(self.images)
        if path.suffix == ".npy":
            try:
                pixels = read_array(path)
            except Exception as error:  # the reader may raise any exception on a hostile header
                raise DatasetError(f"image array '{path}' cannot be read: {error}") from error
            return ArrayImages(pixels)
        if not is_there(path) or not path.is_dir():
            raise DatasetError(f"images must be a folder or an .npy file, got '{path}'")
        images = FileImages(path, [name.replace("\\", "/") for name in ids])
        missing = absent_rows(images)
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(ids)} images of '{self.labels}' are not there, the "
                f"first {looked_for(images, missing[0])}"
            )
        return images

    def _given(self, ids: list[str]) -> list[NDArray[np.int64]]:
        of = self._split_file()
        splits = [of.get(canonical(name), (None, "no line")) for name in ids]
        bad = [row for row, (split, _) in enumerate(splits) if split not in _NAMES]
        if bad:
            split, place = splits[bad[0]]
            raise DatasetError(
                f"split file '{self.splits}' must give train, val or test for every image, got "
                f"{split!r} for '{ids[bad[0]]}' ({len(bad)} such), {place}"
            )
        given = np.array([split for split, _ in splits])
        return [np.flatnonzero(given == name) for name in _NAMES]

    def _split_file(self) -> dict[str, tuple[str, str]]:
        """Split, and place in the file, of each image in the split file."""
        try:
            table = read_delimited(Path(self.splits))
            table.check_header()
            ids, splits = table.column("image_id"), table.column("split")
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"split file '{self.splits}' must be a CSV with image_id and split: {error}"
            ) from error
        places = [f"line {row.line}" for row in table.rows]
        check_once(f"split file '{self.splits}': an image", ids, places.__getitem__)
        return dict(zip(map(canonical, ids), zip(splits, places, strict=True), strict=True))

    def _drawn(self, count: int) -> list[NDArray[np.int64]]:
        if self.val + self.test >= 1:
            raise DatasetError(f"val + test must be below 1, got {self.val + self.test:g}")
        order = permutation(count, self.split_seed, "table-splits")
        cuts = [round(count * self.test), round(count * (self.test + self.val))]
        test, val, train = np.split(order, cuts)
        return [np.sort(train), np.sort(val), np.sort(test)]
