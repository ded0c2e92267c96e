"""Layouts of label files: the meaning of their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown
from labelattack.files.names import as_text
from labelattack.files.records import Chunk, Records
from labelattack.labels.numbering import Numbering
from labelattack.labels.partial import PartialLabels

Kind = Literal["wide", "lists", "long"]
Unlisted = Literal["negative", "unknown"]
_BELONGS = {
    "column": ("lists", "long"),
    "value": ("long",),
    "sep": ("lists",),
    "unlisted": ("lists", "long"),
    "ignore": ("wide", "long"),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Meaning of the columns of a label file.

    Attributes:
        kind: ``wide``: a column for each class; ``lists``: a column of label lists; ``long``: a
            line for each entry of the label matrix.
        image_id: Column of the image ids; empty for the first of a text file, ``image_id`` else.
        column: Of ``lists``, the column of the lists, ``labels`` if empty; of ``long``, that of
            the label, ``label`` if empty.
        value: Of ``long``, the column of the values; if empty, ``value`` where there is one.
        sep: Of ``lists``, what divides the labels of a text: a sign, or ``comma``, ``semicolon``,
            ``pipe``, ``space``, ``tab``; empty for lists of Parquet and JSON, or in JSON's form.
        unlisted: State of a label that ``lists`` or ``long`` does not list.
        ignore: Columns of ``wide`` and ``long`` that say nothing about labels.
        group: Column of the patient, recording ... of each image, if the file has it.
        classes: The valid classes, in their order; None for those of the file.
    """

    kind: Kind = "wide"
    image_id: str = ""
    column: str = ""
    value: str = ""
    sep: str = ""
    unlisted: Unlisted | None = None
    ignore: tuple[str, ...] = ()
    group: str = ""
    classes: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raises LabelError if it is told what belongs to another kind."""
        for name, kinds in _BELONGS.items():
            given = getattr(self, name)
            if given and self.kind not in kinds:
                text = "|".join(given) if isinstance(given, tuple) else given
                raise LabelError(
                    f"{name} must be left out for layout={self.kind}, got '{text}'; it belongs to "
                    f"layout={' and layout='.join(kinds)}"
                )


class Content(NamedTuple):
    """Content of a label file.

    Attributes:
        labels: The labels.
        ids: Name of each image; None if the file names none.
        classes: Name of each class; None if the file names none.
        groups: Group of each image; None if the file names none.
        row: Names the place of an image, in messages.
    """

    labels: PartialLabels
    ids: list[str] | None
    classes: list[str] | None
    groups: list[str] | None = None
    row: Callable[[int], str] = "row {}".format


def names_in(cells: Sequence[Any], place: Callable[[int], str]) -> list[str]:
    """Names of images in cells.

    Raises:
        LabelError: If a cell is no text in UTF-8 and no whole number; names its place.
    """
    names: list[str] = []
    try:
        names.extend(map(as_text, cells))
    except ValueError as error:
        raise LabelError(f"{error} at {place(len(names))}") from error
    return names


def places_of(records: Records, chunk: Chunk) -> Callable[[int], str]:
    """Names the place of a record by its position in a chunk."""
    return lambda n: records.place(chunk.places[n])


def quoted(cell: Any) -> str:
    """A cell as a message shows it."""
    return f"'{cell.strip()}'" if isinstance(cell, str) else shown(cell)


class Groups:
    """Groups of the images, from a column of their records.

    Args:
        records: The records.
        layout: Names the column; without one, or if the records lack it, there are no groups.
    """

    def __init__(self, records: Records, layout: Layout) -> None:
        self._records = records
        there = bool(layout.group) and layout.group in records.names
        self.columns = [layout.group] if there else []
        self._numbers = Numbering("a group")
        self._parts: list[NDArray[np.int32]] = []

    def add(self, chunk: Chunk) -> None:
        """Takes the groups of some records, which are in the last column of a chunk."""
        if self.columns:
            place = places_of(self._records, chunk)
            self._parts.append(self._numbers.of(chunk.columns[-1], place))

    def of(self, rows: NDArray[np.integer[Any]], ids: Sequence[str]) -> list[str] | None:
        """Group of each image.

        Args:
            rows: Image of each record.
            ids: Name of each image.

        Raises:
            LabelError: If a record has no group, or records of one image have different ones.
        """
        if not self.columns:
            return None
        self._numbers.check()
        found = np.concatenate([np.zeros(0, np.int32), *self._parts])
        first = np.zeros(len(ids), dtype=np.int64)
        first[rows[::-1]] = np.arange(len(rows))[::-1]  # of several, the one written last stays
        other = np.flatnonzero(found != found[first[rows]])
        if len(other):
            row = rows[other[0]]
            names = (self._numbers.names[found[n]] for n in (first[row], other[0]))
            places = (self._records.place_of(int(n)) for n in (first[row], other[0]))
            said = " and ".join(f"'{n}' at {p}" for n, p in zip(names, places, strict=True))
            raise LabelError(
                f"an image must have one group, got {said} for '{ids[row]}' "
                f"({len(np.unique(rows[other]))} such images)"
            )
        return [self._numbers.names[number] for number in found[first].tolist()]
