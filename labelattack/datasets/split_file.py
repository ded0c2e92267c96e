"""Split files: which image is for training, which for validation, which for testing."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import check_once
from labelattack.errors import DatasetError, shown
from labelattack.files.names import as_text, canonical
from labelattack.files.records import open_records

NAMES = ("train", "val", "test")


class SplitFile:
    """Split of each image, and its group if the file has a column for it.

    Args:
        path: File with the columns ``image_id`` and ``split``, of a kind that has columns; text
            of any other suffix is delimited.
        group: Column of the groups, if the file has it; empty for none.

    Raises:
        DatasetError: If the file cannot be read, lacks a column, or names an image twice.
    """

    def __init__(self, path: Path, group: str = "") -> None:
        self._what = f"split file '{path}'"
        ids, self._places = list[str](), array("q")
        self._splits: list[str] = []
        words: dict[str, str] = {}
        groups: list[str] = []
        try:
            self._records = records = open_records(path)
            records.check_names()
            self.columns = records.names
            wanted = [records.check_there(name) for name in ("image_id", "split")]
            grouped = bool(group) and group in records.names
            for chunk in records.chunks([*wanted, group] if grouped else wanted):
                ids += map(as_text, chunk.columns[0])
                self._splits += (words.setdefault(s, s) for s in map(_word, chunk.columns[1]))
                self._places.extend(chunk.places)
                groups += map(as_text, chunk.columns[2]) if grouped else ()
        except Exception as error:  # a reader may raise any exception on a damaged file
            raise DatasetError(
                f"{self._what} must have the columns image_id and split: {error}"
            ) from error
        check_once(f"{self._what}: an image", ids, self._place)
        self._groups = groups if grouped else None
        self._at = {canonical(name): n for n, name in enumerate(ids)}

    def _place(self, position: int) -> str:
        return self._records.place(self._places[position])

    def rows(self, ids: Sequence[str]) -> list[NDArray[np.int64]]:
        """Rows of the images in each split.

        Raises:
            DatasetError: If the file gives an image no split; names the first, and counts them.
        """
        places = [self._at.get(canonical(name)) for name in ids]
        splits = [None if n is None else self._splits[n] for n in places]
        bad = [row for row, split in enumerate(splits) if split not in NAMES]
        if bad:
            place, split = places[bad[0]], splits[bad[0]]
            got = "nothing" if place is None else f"{split!r} at {self._place(place)}"
            raise DatasetError(
                f"{self._what} must give train, val or test for every image, got {got} for "
                f"'{ids[bad[0]]}' ({len(bad)} such)"
            )
        given = np.array(splits)
        return [np.flatnonzero(given == name) for name in NAMES]

    def groups(self, ids: Sequence[str]) -> list[str] | None:
        """Group of each image, all of which the file names; None if it has no such column.

        Raises:
            DatasetError: If an image has no group; names the first, and counts them.
        """
        if self._groups is None:
            return None
        places = [self._at[canonical(name)] for name in ids]
        groups = [self._groups[place] for place in places]
        if "" in groups:
            first = groups.index("")
            raise DatasetError(
                f"{self._what} must give every image a group, got none for '{ids[first]}' "
                f"({groups.count('')} such), {self._place(places[first])}"
            )
        return groups


def _word(cell: object) -> str:
    return cell.strip() if isinstance(cell, str) else shown(cell)
