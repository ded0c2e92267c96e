"""Labels as mappings from images to their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown
from labelattack.files.names import as_text, check_names
from labelattack.labels.containers.base import (
    Contained,
    entries_of,
    in_python,
    of_entries,
    texts_of,
)
from labelattack.labels.conversion import nonzero_codes
from labelattack.labels.encoding import Encoding, number_in
from labelattack.labels.numbering import Numbering
from labelattack.labels.partial import PartialLabels
from labelattack.labels.storage import IntArray


def from_mapping(
    y: Mapping[Any, Any], encoding: Encoding | None, classes: Sequence[Any] | None
) -> Contained:
    """Labels in a mapping from images to lists of classes, or to mappings from classes to codes.

    Args:
        y: The mapping.
        encoding: Encoding of the codes; a class in a list has the code 1, one that an image does
            not list the code 0.
        classes: The valid classes, in their order; None for those that occur, sorted by name.

    Raises:
        LabelError: If a value is neither, a name is no text or whole number, an image or a class
            of an image occurs twice, or a class is not valid; names the place.
    """
    images, ids = list(y), _names(y)
    coded = _is_coded(y)
    if coded and encoding is None:
        raise LabelError(
            "labels_encoding must be given for a mapping to codes, got none; in 'signed' (1, -1) a "
            "class that is not listed is unknown, in 'binary', 'missing' (-1: unknown) and 'nan' "
            "it is negative"
        )
    listed = [list(value) for value in y.values()]
    rows = np.repeat(np.arange(len(images)), [len(value) for value in listed])
    cells = [in_python(cell) for value in listed for cell in value]

    def place(n: int) -> str:
        return f"image '{ids[rows[n]]}'"

    numbering = Numbering("a class", None if classes is None else texts_of("class_names", classes))
    columns = numbering.of(cells, place).astype(np.int64)
    numbering.check()
    names, columns, originals = _in_order(numbering, columns, cells, classes)
    check_names(ids, names)
    numbers = _codes(y) if coded else np.ones(len(cells))
    rows, columns, numbers = _once(rows, columns, numbers, coded, place)
    states = entries_of(
        numbers, encoding, lambda n: f"image '{ids[rows[n]]}', class '{names[columns[n]]}'"
    )
    labels = of_entries((len(ids), len(names)), rows, columns, states, encoding)
    kept = None if encoding in (None, "binary") else encoding

    def write(left: PartialLabels, asked: Encoding) -> dict[Any, Any]:
        return to_mapping(left, asked, images, originals, lists=not coded and asked == "binary")

    return Contained(labels.named(ids, names), "a mapping to lists", kept, write, _CHOICES)


_CHOICES = (
    "in which a class that is not listed is negative: 'signed' gives a mapping {class: 1 or -1} "
    "for each image, without the hidden classes; 'missing' and 'nan' give {class: 1, -1 or NaN}, "
    "without the negative ones"
)


def to_mapping(
    labels: PartialLabels,
    encoding: Encoding,
    images: Sequence[Any],
    classes: Sequence[Any],
    *,
    lists: bool,
) -> dict[Any, Any]:
    """Labels as a mapping from images to mappings from classes to codes other than 0.

    Args:
        labels: The labels.
        encoding: Encoding of the codes.
        images: Key of each image.
        classes: Name of each class.
        lists: Whether to list the classes of each image instead, without their codes.
    """
    starts, columns, codes = nonzero_codes(labels, encoding)
    numbers, names = codes.tolist(), [classes[column] for column in columns.tolist()]
    parts = [slice(*ends) for ends in pairwise(starts.tolist())]
    if lists:
        return {image: names[part] for image, part in zip(images, parts, strict=True)}
    return {
        image: dict(zip(names[part], numbers[part], strict=True))
        for image, part in zip(images, parts, strict=True)
    }


def _names(y: Mapping[Any, Any]) -> list[str]:
    names: list[str] = []
    try:
        names.extend(as_text(in_python(image)) for image in y)
    except ValueError as error:
        raise LabelError(f"images of a mapping: {error} at item {len(names)}") from error
    return names


def _is_coded(y: Mapping[Any, Any]) -> bool:
    """Whether the values are mappings to codes, not lists; raises LabelError on anything else."""
    coded = any(isinstance(value, Mapping) for value in y.values())
    right = (Mapping,) if coded else (list, tuple, Set, np.ndarray)
    for image, value in y.items():
        if not isinstance(value, right) or (isinstance(value, np.ndarray) and value.ndim != 1):
            wanted = "mappings to codes" if coded else "lists of classes"
            raise LabelError(
                f"values of a mapping must be {wanted}, got {shown(value)} for image {shown(image)}"
            )
    return coded


def _codes(y: Mapping[Any, Any]) -> NDArray[np.float64]:
    """The codes of all entries, image by image."""
    numbers: list[float] = []
    for image, value in y.items():
        for name, code in value.items():
            number = np.inf if isinstance(code, str) else number_in(code)
            if number == np.inf:
                raise LabelError(
                    f"codes of a mapping must be 1, 0, -1 or NaN, got {shown(code)} for image "
                    f"{shown(image)}, class {shown(name)}"
                )
            numbers.append(number)
    return np.array(numbers, dtype=np.float64)


def _in_order(
    numbering: Numbering, columns: IntArray, cells: Sequence[Any], classes: Sequence[Any] | None
) -> tuple[list[str], IntArray, list[Any]]:
    """Names of the classes in their order, the column of each cell, and the classes as given."""
    if classes is not None:
        return numbering.names, columns, list(classes)
    first: dict[int, Any] = {}
    for number, cell in zip(columns.tolist(), cells, strict=True):
        first.setdefault(number, cell)
    order = sorted(range(len(numbering.names)), key=numbering.names.__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return [numbering.names[n] for n in order], place[columns], [first[n] for n in order]


def _once(
    rows: IntArray, columns: IntArray, numbers: Any, coded: bool, place: Callable[[int], str]
) -> tuple[IntArray, IntArray, Any]:
    """Entries without those that are listed again, which only lists may do."""
    keys = rows * (columns.max(initial=0) + 1) + columns
    _, first = np.unique(keys, return_index=True)
    if coded and len(first) < len(keys):
        again = int(np.setdiff1d(np.arange(len(keys)), first)[0])
        raise LabelError(
            f"a class must be given once for an image, got one twice for {place(again)}"
        )
    return rows[first], columns[first], numbers[first]
