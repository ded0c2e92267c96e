"""Image labels that people verified, as Open Images has them: a line for each image and class."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.label_cache import Arrays, cached
from labelattack.errors import DatasetError
from labelattack.files.text import UTF8_BOM, check_utf8_mark
from labelattack.labels import BoolArray, PartialLabels

_HEADER = "ImageID,Source,LabelName,Confidence"
_SOURCES = ("verification", "crowdsource-verification")
_ID = re.compile(r"[0-9a-f]{16}")
_CHECKS = 1
"""Version of the checks that cached labels have passed; raised with each new check."""


class VerifiedLabels(NamedTuple):
    """Verified labels of one list of images.

    Attributes:
        images: Ids of the images, in ascending order, uint64 ``[images]``.
        labels: Their labels, ``[images, classes]``; those that nobody verified are unknown.
        others: Number of labels of other classes.
    """

    images: NDArray[np.uint64]
    labels: PartialLabels
    others: int


def verified_labels(path: Path, classes: Sequence[str], images: Path | None) -> VerifiedLabels:
    """Reads verified labels as a stream, or takes them from the cache folder.

    Args:
        path: CSV with the columns ImageID, Source, LabelName and Confidence.
        classes: Id of each class; labels of others are counted alone.
        images: CSV whose first column lists all images; None if those with a label are all.

    Raises:
        DatasetError: If a line is no label that people verified, a label is there with both
            values, or an image is not listed or listed twice; names the line.
    """
    files = [path] if images is None else [path, images]
    parse = partial(_parsed, path, classes, images)
    return cached("openimages", files, [_CHECKS, *classes], parse, partial(_built, len(classes)))


def _built(width: int, arrays: Arrays) -> VerifiedLabels:
    """Labels of the arrays in the cache."""
    images, counts = arrays["images"], arrays["counts"]
    rows = np.repeat(np.arange(len(images)), counts)
    labels = PartialLabels.from_entries(
        (len(images), width), rows, arrays["columns"], arrays["positive"]
    )
    return VerifiedLabels(images, labels, int(arrays["others"]))


def _parsed(path: Path, classes: Sequence[str], listed: Path | None) -> Arrays:
    """Parses the labels.

    Returns:
        ``images`` as in the result; of each image its number of known entries, ``counts`` int64
        ``[images]``; of each entry, image by image, its class ``columns`` and value ``positive``;
        the number ``others``.
    """
    width = len(classes)
    found, codes = _lines(path, classes)
    # Labels of an image come together, so few are left to sort.
    images = _image_list(listed) if listed is not None else np.unique(found[_changes(found)])
    entries = np.searchsorted(images, found)
    if listed is not None:
        stray = found[images.take(entries, mode="clip") != found]
        if len(stray):
            line = _lines_of(path, f"{stray[0]:016x}")[0]
            raise DatasetError(
                f"'{path}' must hold labels of images of '{listed}', got image {stray[0]:016x} at "
                f"line {line} ({len(stray)} such)"
            )
    # The lowest bit is the value, so equal labels are neighbours, and so are opposite ones.
    entries *= 2 * width
    entries += codes
    entries = entries[codes >= 0]
    others = len(found) - len(entries)
    del found, codes
    entries.sort()
    entries = entries[_changes(entries)]
    positive = (entries & 1).astype(np.bool_)
    entries >>= 1
    _check_one_value(path, entries, images, classes)
    return {
        "images": images,
        "counts": np.bincount(entries // width, minlength=len(images)),
        "columns": (entries % width).astype(np.min_scalar_type(width)),
        "positive": positive,
        "others": np.array(others),
    }


def _check_one_value(
    path: Path, entries: NDArray[np.int64], images: NDArray[np.uint64], classes: Sequence[str]
) -> None:
    """Raises DatasetError if an entry is there twice, as it then has both values."""
    both = entries[1:][~_changes(entries)[1:]]
    if len(both):
        row, column = divmod(int(both[0]), len(classes))
        image, name = f"{images[row]:016x}", classes[column]
        lines = _lines_of(path, image, f",{name},")
        raise DatasetError(
            f"'{path}' must give an image and a class one Confidence, got 0 and 1 for {image} and "
            f"{name} at lines {', '.join(map(str, lines))} ({len(both)} such)"
        )


def _changes(array: NDArray[Any]) -> BoolArray:
    """Elements that differ from the one before, bool ``[elements]``; the first one does."""
    changes: BoolArray = np.ones(len(array), dtype=np.bool_)
    np.not_equal(array[1:], array[:-1], out=changes[1:])
    return changes


def _lines(path: Path, classes: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Image of each line, and code of its label: twice the column, plus the value; or negative.

    Raises:
        DatasetError: If a line is no label that people verified.
    """
    code = {name.encode(): 2 * column for column, name in enumerate(classes)}
    values = {b"0": 0, b"1": 1, b"0.0": 0, b"1.0": 1}
    sources = frozenset(source.encode() for source in _SOURCES)
    images, codes = array("Q"), array("i")
    faults, first = 0, ""
    before: bytes | None = None
    number = 0
    with _opened(path) as file:
        for line_number, line in enumerate(file, start=2):
            try:
                image, source, label, confidence = line.split(b",")
                value = values[confidence.strip()]
                if source not in sources or not label.startswith(b"/"):
                    raise ValueError
                if image != before:  # labels of an image come together
                    number, before = _number(image.decode()), image
            except (KeyError, ValueError):
                if line.strip():
                    first = first or f"line {line_number}: {_fault(line)}"
                    faults += 1
                continue
            images.append(number)
            codes.append(code.get(label, -2) + value)
    if faults:
        raise DatasetError(
            f"'{path}' must hold labels that people verified, {_HEADER} a line, got {first} "
            f"({faults} such)"
        )
    return np.frombuffer(images, dtype=np.uint64), np.frombuffer(codes, dtype=np.int32)


def _number(image: str) -> int:
    """Number of an image id.

    Raises:
        ValueError: If it is not of 16 hex digits in lower case, as names of files are.
    """
    if not _ID.fullmatch(image):
        raise ValueError(f"an image id must be 16 hex digits in lower case, got '{image}'")
    return int(image, 16)


def _fault(line: bytes) -> str:
    """A line that is no verified label, with the reason."""
    text = line.decode(errors="backslashreplace").strip()
    fields = text.split(",")
    if len(fields) != 4:
        reason = f"{len(fields)} fields for 4"
    elif not _ID.fullmatch(fields[0]):
        reason = "ImageID is not 16 hex digits in lower case"
    elif fields[1] not in _SOURCES:
        reason = f"Source is neither {' nor '.join(_SOURCES)}, so no human verified it"
    elif not fields[2].startswith("/"):
        reason = "LabelName is no id such as /m/01g317"
    else:
        reason = "Confidence is neither 0 nor 1, so no human verified it"
    return f"'{text}' ({reason})"


def _image_list(path: Path) -> NDArray[np.uint64]:
    """Ids in the first column of a CSV with a header, in ascending order, uint64 ``[images]``."""
    images = array("Q")
    try:
        # Other columns have titles, in whatever encoding.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.reader(file, strict=True)
            first = "".join(next(rows, [])[:1])
            if first != "ImageID":
                raise DatasetError(f"'{path}' must begin with ImageID, got '{first}' at line 1")
            try:
                images.extend(_number(row[0]) for row in rows if row)
            except (ValueError, csv.Error) as error:
                raise DatasetError(
                    f"'{path}' must list images, got line {rows.line_num}: {error}"
                ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"'{path}' cannot be read: {error}") from error
    ids = np.frombuffer(images, dtype=np.uint64)
    if not len(ids):
        raise DatasetError(f"'{path}' must list images, got none")
    unique, counts = np.unique(ids, return_counts=True)
    twice = unique[counts > 1]
    if len(twice):
        lines = _lines_of(path, f"{twice[0]:016x}")
        raise DatasetError(
            f"'{path}' must list an image once, got {twice[0]:016x} at lines "
            f"{', '.join(map(str, lines))} ({len(twice)} such)"
        )
    return unique


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file after its header; an error that reading raises is one of the file."""
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 10)
            check_utf8_mark(first)
            header = first.removeprefix(UTF8_BOM).decode(errors="backslashreplace").strip()
            if header != _HEADER:
                raise DatasetError(f"'{path}' must begin with {_HEADER}, got '{header}' at line 1")
            yield file
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' cannot be read: {error}") from error


def _lines_of(path: Path, image: str, part: str = "") -> list[int]:
    """Numbers of the first lines that begin with an image id, in quotes or not, and hold a text."""
    first, other = (image.encode(), f'"{image}'.encode()), part.encode()
    with path.open("rb") as file:
        lines = enumerate(file, start=1)
        found = (number for number, line in lines if line.startswith(first) and other in line)
        return list(islice(found, 3))
