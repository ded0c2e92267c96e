"""Datasets of Hugging Face that lie on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Split, Splits
from labelattack.datasets.dataset_name import DatasetName
from labelattack.datasets.decoding import DECODING, Pixels, decoded
from labelattack.datasets.division import drawn, hold_out
from labelattack.errors import DatasetError, shown, unknown
from labelattack.files.content import content_digest
from labelattack.files.names import check_names
from labelattack.files.records import Chunk, Records
from labelattack.files.storage import FilePath, cache_folder, is_file, is_there
from labelattack.labels import Encoding, Layout, PartialLabels
from labelattack.labels.encoding import Decoder
from labelattack.labels.files import read_classes
from labelattack.labels.layouts import Content
from labelattack.labels.listed import read_lists
from labelattack.optional import require

_ROW = "row"  # names an image where no column does
_ROWS = 1024  # read at a time
# Read when the library is imported, in this process and in workers; nothing here needs a network.
_FLAGS = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_DATASETS_DISABLE_PROGRESS_BARS",
)


@register("hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(Dataset):
    """A Hugging Face dataset on disk: of save_to_disk, or a folder of images with metadata.

    It is read without a network. Images are decoded when they are needed.

    Args:
        path: Folder of the dataset.
        image: Column of the images.
        labels: Column of the labels: lists of classes or of text, or rows of numbers.
        unlisted: What a label is that a list does not name: negative or unknown.
        encoding: Of rows of numbers, one for each class: binary (1, 0), signed (1, -1, 0=unknown),
            missing (1, 0, -1=unknown), nan (1, 0, NaN=unknown).
        sep: What divides lists that are one text: a sign, or comma, semicolon, pipe, space, tab.
        classes: File with the name of a class a line, for labels that are text or numbers.
        image_id: Column of the image names; by default split and row.
        train_split: Name of the training split; alone, all three are drawn from it.
        val_split: Name of the validation split; empty to hold images of train out.
        test_split: Name of the test split.
        val: Share of the images drawn for validation.
        test: Share of the images drawn for testing.
        stratify: Give drawn splits their share of each class, rarest first.
        expected_positives: Positives per image, for defenses that are told; not read from labels.
        split_seed: Seed of the draw.
        name: Name of the data set on boards and in reports.
    """

    source: ClassVar[str] = "yours"

    path: FilePath
    image: str = "image"
    labels: str = "labels"
    unlisted: Literal["negative", "unknown"] | None = None
    encoding: Encoding | None = None
    sep: str = ""
    classes: FilePath = ""
    image_id: str = ""
    train_split: str = "train"
    val_split: str = "validation"
    test_split: str = "test"
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    stratify: bool = False
    expected_positives: Annotated[float, Field(gt=0)] | None = None
    split_seed: Annotated[int, Field(ge=0)] = 0
    name: DatasetName = ""

    def load(self) -> Splits:
        """Reads the labels; decodes no image."""
        parts = self._parts(opened(Path(self.path)))
        records = _HfRecords(parts)
        for column in (self.image, self.labels, self.image_id or _ROW):
            try:
                records.check_there(column)
            except ValueError as error:
                raise DatasetError(f"dataset '{self.path}': {error}") from error
        try:
            content = self._read(records)
            check_names(content.ids or (), content.classes or (), content.row)
        except ValueError as error:
            raise DatasetError(f"column '{self.labels}' of '{self.path}': {error}") from error
        ids, classes = content.ids or [], content.classes or []
        images = HfImages(list(parts.values()), self.image, Path(self.path))
        return self._divided(Split(images, content.labels, ids), parts, classes)

    def _parts(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Data of each split that is used, by ``train``, ``val`` and ``test``."""
        names = {"train": self.train_split, "val": self.val_split, "test": self.test_split}
        if len(found) == 1:
            return {"train": next(iter(found.values()))}
        if not self.val_split:
            del names["val"]
        for part, name in names.items():
            if name not in found:
                hint = "; an empty one holds images of train out" if part == "val" else ""
                near = str(unknown("split", name, found)).partition("; ")[2]
                raise DatasetError(
                    f"{part}_split must name a split of '{self.path}', got '{name}'; {near}{hint}"
                )
        return {part: found[name] for part, name in names.items()}

    def _read(self, records: _HfRecords) -> Content:
        feature, _ = _inner(records.features[self.labels])
        names = getattr(feature, "names", None)
        classes = read_classes(Path(self.classes)) if self.classes else None
        kind = str(getattr(feature, "dtype", ""))
        if names is None and kind.startswith(("int", "uint", "float", "bool")):
            return _read_rows(records, self.labels, self.image_id or _ROW, self.encoding, classes)
        if self.encoding is not None:
            raise ValueError("encoding must be left out where labels are lists of names")
        layout = Layout(
            kind="lists",
            image_id=self.image_id or _ROW,
            column=self.labels,
            sep=self.sep,
            unlisted=self.unlisted,
            classes=tuple(names) if names is not None else classes,
        )
        return read_lists(records, layout, "binary")

    def _divided(self, whole: Split, parts: Mapping[str, Any], classes: list[str]) -> Splits:
        ends = np.cumsum([0, *(len(part) for part in parts.values())])
        rows = {name: np.arange(*ends[n : n + 2]) for n, name in enumerate(parts)}
        draw = {"stratify": self.stratify}
        if "test" not in rows:
            cut = drawn(whole, self.val, self.test, self.split_seed, "hf-splits", **draw)
            rows = dict(zip(("train", "val", "test"), cut, strict=True))
        for name, part in rows.items():
            if not len(part):
                raise DatasetError(f"{name} must have at least one image, got none of {len(whole)}")
        splits = {name: whole.take(part) for name, part in rows.items()}
        if "val" not in splits:
            splits["train"], splits["val"] = hold_out(
                splits["train"], self.val, self.split_seed, "hf-val", **draw
            )
        return Splits(
            classes, splits["train"], splits["val"], splits["test"], self.expected_positives
        )


def opened(folder: Path) -> dict[str, Any]:
    """The splits of a Hugging Face dataset on disk, by name.

    The library is offline in this process from then on, unless it was imported before.

    Args:
        folder: Folder written by ``save_to_disk``, or of images as ``imagefolder`` wants them.

    Raises:
        DatasetError: If it is not there or cannot be read.
        LabelAttackError: If the library is not installed.
    """
    if not is_there(folder) or not folder.is_dir():
        raise DatasetError(f"path must be the folder of a Hugging Face dataset, got '{folder}'")
    os.environ |= dict.fromkeys(_FLAGS, "1")
    library = require("datasets", "hf")
    try:
        if is_file(folder / "dataset_dict.json") or is_file(folder / "state.json"):
            found = library.load_from_disk(str(folder))
        else:
            kept = str(cache_folder() / "hf")
            found = library.load_dataset("imagefolder", data_dir=str(folder), cache_dir=kept)
    except Exception as error:  # the library raises nearly anything
        raise DatasetError(f"dataset '{folder}' cannot be read: {error}") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _inner(feature: Any) -> tuple[Any, bool]:
    """Feature of the items of a list, and whether it is one."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return (feature, False) if inner is None else (inner, True)


class _HfRecords(Records):
    """Rows of all splits, one after the other; a column more names split and row."""

    id_column = _ROW
    unit = "row"

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        self.features: dict[str, Any] = dict(next(iter(parts.values())).features)
        self.names = [_ROW, *(name for name in self.features if name != _ROW)]
        for name, part in parts.items():
            if dict(part.features) != self.features:
                raise DatasetError(
                    "splits must have the same columns of the same types, got others in "
                    f"{name}: {shown(dict(part.features))}"
                )

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the cells of some columns; classes by their names."""
        first, wanted = 1, [name for name in columns if name != _ROW]
        for part_name, part in self._parts.items():
            chosen = part.select_columns(wanted).with_format("arrow")
            for start in range(0, len(part), _ROWS):
                table = chosen[start : start + _ROWS]
                rows = range(start, start + len(table))
                cells = {name: self._cells(name, table.column(name)) for name in wanted}
                cells[_ROW] = [f"{part_name}-{row}" for row in rows]
                yield Chunk(range(first, first + len(table)), [cells[name] for name in columns])
                first += len(table)

    def _cells(self, name: str, column: Any) -> Sequence[Any]:
        feature, listed = _inner(self.features[name])
        cells: list[Any] = column.to_pylist()
        names = getattr(feature, "names", None)
        if names is None:
            return cells
        lists = cells if listed else [[cell] for cell in cells]
        return [None if own is None else [names[n] for n in own] for own in lists]


def _read_rows(
    records: Records,
    column: str,
    id_column: str,
    encoding: Encoding | None,
    classes: Sequence[str] | None,
) -> Content:
    """Labels that are rows of numbers, one for each class."""
    if encoding is None:
        raise ValueError(
            "lists of numbers must be rows with a number for each class, and encoding= must say "
            "what these mean; for lists of class numbers, cast the column to ClassLabel"
        )
    decoder, ids = Decoder(encoding), list[str]()
    positives, knowns = [], []
    width = None if classes is None else len(classes)
    for chunk in records.chunks([id_column, column]):
        cells = chunk.columns[1]
        for place, row in zip(chunk.places, cells, strict=True):
            width = len(row or ()) if width is None else width
            if len(row or ()) != width:
                raise ValueError(
                    f"rows must have a number for each of {width} classes, got {shown(row)} at "
                    f"{records.place(place)}"
                )
        numbers = np.array(
            [[np.nan if cell is None else float(cell) for cell in row] for row in cells]
        ).reshape(len(cells), width or 0)

        def entry(
            row: int,
            column: int,
            numbers: NDArray[Any] = numbers,
            places: Sequence[int] = chunk.places,
        ) -> str:
            return f"{numbers[row, column]:g} at {records.place(places[row])}, class {column}"

        positive, known = decoder.decode(numbers, entry)
        positives.append(positive)
        knowns.append(known)
        ids += map(str, chunk.columns[0])
    decoder.check()
    names = list(classes) if classes is not None else [str(n) for n in range(width or 0)]
    return Content(PartialLabels(np.concatenate(positives), np.concatenate(knowns)), ids, names)


class HfImages:
    """Images of Hugging Face datasets, one after the other; each is decoded on access.

    Args:
        parts: The datasets.
        column: Column of the images.
        folder: Folder that files outside of the datasets must lie in.

    Raises:
        DatasetError: If the column holds no images.
    """

    def __init__(self, parts: Sequence[Any], column: str, folder: Path) -> None:
        image = require("datasets", "hf").Image
        feature = parts[0].features[column]
        if not isinstance(feature, image):
            raise DatasetError(f"column '{column}' must hold images, got {shown(feature)}")
        undecoded = image(decode=False)
        self._parts = [
            part.select_columns([column]).cast_column(column, undecoded) for part in parts
        ]
        self._column, self._folder = column, folder
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Pixels:
        content, path = self._file(index)
        return decoded(path, content)

    def _file(self, index: int) -> tuple[bytes | None, Path]:
        """Content of an image file, None if it lies on disk, and its path."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        found = part[int(index - self._ends[number] + len(part))][self._column] or {}
        content, path = found.get("bytes"), Path(found.get("path") or f"row {index}")
        if content is None and not path.resolve().is_relative_to(self._folder.resolve()):
            raise DatasetError(f"images must lie in '{self._folder}', got '{path}' at row {index}")
        return content, path

    @cached_property
    def _digest(self) -> str:
        parts = hashlib.sha256(f"decoding {DECODING}".encode())
        for index in range(len(self)):
            content, path = self._file(index)
            try:
                own = hashlib.sha256(content).hexdigest() if content else content_digest(path)
            except OSError as error:
                raise DatasetError(f"image '{path}' cannot be read: {error}") from error
            parts.update(own.encode())
        return parts.hexdigest()

    def fingerprint(self) -> str:
        """Hash of the contents of all image files; computed once."""
        return self._digest
