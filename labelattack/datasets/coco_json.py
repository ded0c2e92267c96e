"""Annotation files in COCO's format, read as a stream."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import check_once
from labelattack.datasets.json_stream import items
from labelattack.errors import DatasetError, shown

_DIGITS = re.compile(r"-?\d{1,19}", re.ASCII)


@dataclass(frozen=True)
class CocoJson:
    """A file with lists of images, annotations and categories.

    Attributes:
        path: The file.
        content: Name of what it must hold, for messages.
        needed: Hint at the right file, for messages on one that lacks a list.
    """

    path: Path
    content: str
    needed: str

    def entries(self, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Objects of one list of the file, each with its place for messages.

        Raises:
            DatasetError: If the list is empty, or an element is not an object.
        """
        empty = True
        for number, entry in enumerate(items(self.path, what)):
            if not isinstance(entry, dict):
                raise self.refused(f"{what}[{number}] must be an object, got {shown(entry)}")
            empty = False
            yield f"{what}[{number}]", entry
        if empty:
            raise self.refused(f"it has no {what}; {self.needed}")

    def named(
        self,
        what: str,
        key: str,
        also: Callable[[str, dict[str, Any]], None] = lambda place, entry: None,
    ) -> dict[int, str]:
        """Texts in one list of the file, by id; ids and texts are unique.

        Args:
            what: The list.
            key: Key of the text.
            also: Called with the place and the content of each object.
        """
        ids: list[int] = []
        names: list[str] = []
        for place, entry in self.entries(what):
            ids.append(self.number(place, entry.get("id"), "id"))
            names.append(entry.get(key, ""))
            if not isinstance(names[-1], str) or not names[-1]:
                got = shown(names[-1])
                raise self.refused(f"{place} must have a text as '{key}', got {got}")
            also(place, entry)
        for unique, values in (("id", list(map(str, ids))), (key, names)):
            check_once(f"'{self.path}': '{unique}' of '{what}'", values, f"{what}[{{}}]".format)
        return dict(zip(ids, names, strict=True))

    def annotated(
        self,
        row: Mapping[int, int],
        column: Mapping[int, int],
        also: Callable[[str, dict[str, Any]], None] = lambda place, entry: None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of each annotation, int64 ``[annotations]`` each.

        Args:
            row: Row of each image id.
            column: Column of each category id.
            also: Called with the place and the content of each annotation.

        Raises:
            DatasetError: If an annotation is of an unknown image or category.
        """
        rows, columns = array("q"), array("q")
        stray: list[str] = []
        for place, entry in self.entries("annotations"):
            image, category = (
                self.number(place, entry.get(key), key) for key in ("image_id", "category_id")
            )
            if image in row and category in column:
                rows.append(row[image])
                columns.append(column[category])
                also(place, entry)
            else:
                strange = f"image {image}" if image not in row else f"category {category}"
                stray.append(f"{place} is of {strange}, which is not there")
        if stray:
            raise self.refused(f"{stray[0]} ({len(stray)} such)")
        return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)

    def number(self, place: str, value: object, key: str) -> int:
        """Integer id; some programs write it as a string or with a decimal point."""
        if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
            got = shown(value)
            raise self.refused(f"{place} must have a whole number as '{key}', got {got}")
        return value

    def refused(self, got: str) -> DatasetError:
        """Builds the error on a file that holds something else, for the caller to raise."""
        return DatasetError(f"'{self.path}' must hold {self.content}; {got}")


def check_same_categories(folder: Path, train: list[str], val: list[str]) -> None:
    """Raises DatasetError unless two annotation files of a folder have the same categories."""
    if train == val:
        return
    alone = [[name for name in a if name not in b] for a, b in ((train, val), (val, train))]
    differing = "the same in another order"
    if any(alone):
        name = (alone[0] or alone[1])[0]
        differing = f"{len(train)} and {len(val)}, with '{name}' in one alone"
    raise DatasetError(
        f"the annotation files under '{folder}' must have the same categories, got {differing}"
    )
