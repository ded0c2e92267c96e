"""Label files that list labels: a list for each image, or a line for each entry."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.files.names import canonical
from labelattack.files.records import Records
from labelattack.labels.encoding import Decoder, Encoding, numbers_in
from labelattack.labels.layouts import Content, Groups, Layout, names_in, places_of, quoted
from labelattack.labels.numbering import Numbering, Offences
from labelattack.labels.partial import BoolArray, PartialLabels

_SIGNS = {"comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "tab": "\t"}
_HIDDEN, _NEGATIVE, _POSITIVE = 0, 1, 2


class _Listed(NamedTuple):
    """Entries in the order of the file: int32, int32, int8 ``[entries]``."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    states: NDArray[np.int8]


def read_lists(records: Records, layout: Layout, encoding: Encoding) -> Content:
    """Reads labels from records with a list of labels.

    Args:
        records: The records; an image is one of them.
        layout: Names the columns, what divides the labels, and the state of those not listed.
        encoding: ``binary``, as there are no values.

    Raises:
        LabelError: If a list cannot be read or names a class that is not valid; names the first,
            and counts them.
        ValueError: If the file is damaged, or lacks a column.
    """
    _check_unlisted(layout)
    _check_without_values(layout, encoding)
    records.check_names()
    id_column = records.check_there(layout.image_id or records.id_column)
    column = _column(records, layout.column or "labels")
    divide = _Dividing(layout.sep)
    groups, classes = Groups(records, layout), Numbering("a label", layout.classes)
    ids, places, parts = list[str](), array("q"), [_none()]
    for chunk in records.chunks([id_column, column, *groups.columns]):
        place = places_of(records, chunk)
        lists = [divide(cell, place, n) for n, cell in enumerate(chunk.columns[1])]
        of = np.repeat(np.arange(len(lists)), [len(labels) for labels in lists])
        labels = list(chain.from_iterable(lists))
        numbers = classes.of(labels, _of_lists(place, of))
        state = np.full(len(labels), _POSITIVE, dtype=np.int8)
        parts.append(_Listed((of + len(ids)).astype(np.int32), numbers, state))
        ids += names_in(chunk.columns[0], place)
        places.extend(chunk.places)
        groups.add(chunk)
    divide.check()
    classes.check()
    entries = _once(_joined(parts), len(classes.names))
    of_images = groups.of(np.arange(len(ids)), ids)
    matrix, names = _finished(entries, len(ids), classes.names, layout)
    return Content(matrix, ids, names, of_images, lambda row: records.place(places[row]))


def read_long(records: Records, layout: Layout, encoding: Encoding) -> Content:
    """Reads labels from records that are an entry each.

    An entry may be listed again with the same value, as by a line for each box.

    Args:
        records: The records.
        layout: Names the columns, and the state of entries that are not listed.
        encoding: Encoding of the values, if there are any.

    Raises:
        LabelError: If a value is not of the encoding, a class is not valid, or an entry is listed
            with two values; names the first, and counts them.
        ValueError: If the file is damaged, or lacks a column.
    """
    columns, value = _long_columns(records, layout)
    if not value:
        _check_unlisted(layout)
        _check_without_values(layout, encoding)
    groups, decoder = Groups(records, layout), Decoder(encoding)
    images = Numbering("an image", key=canonical)
    classes = Numbering("a label", layout.classes)
    parts = [_none()]
    for chunk in records.chunks([*columns, *value, *groups.columns]):
        place = places_of(records, chunk)
        rows, numbers = images.of(chunk.columns[0], place), classes.of(chunk.columns[1], place)
        state = np.full(len(rows), _POSITIVE, dtype=np.int8)
        if value:
            cells = chunk.columns[2]
            positive, known = decoder.decode(numbers_in(cells), _values(cells, place, value[0]))
            state = (positive * 1 + known * 1).astype(np.int8)
        parts.append(_Listed(rows, numbers, state))
        groups.add(chunk)
    for part in (images, classes, decoder):
        part.check()
    entries = _joined(parts)
    of_images = groups.of(entries.rows, images.names)

    def contradiction(first: int, again: int, many: int) -> str:
        row, column = entries.rows[first], entries.columns[first]
        return (
            f"a label of an image must have one value, got two for '{classes.names[column]}' of "
            f"'{images.names[row]}' at {records.place_of(first)} and {records.place_of(again)} "
            f"({many} such)"
        )

    ids, entries = images.names, _once(entries, len(classes.names), contradiction)
    matrix, names = _finished(entries, len(ids), classes.names, layout)
    return Content(matrix, ids, names, of_images)


def _long_columns(records: Records, layout: Layout) -> tuple[list[str], list[str]]:
    """Columns of image and label, and that of the value if there is one."""
    records.check_names()
    own = records.check_there(layout.image_id or records.id_column)
    label = _column(records, layout.column or "label")
    there = layout.value or "value" in records.names
    value = [_column(records, layout.value or "value")] if there else []
    ignored = map(records.check_there, layout.ignore)
    # One of them might hold values: without these, every line would be a positive.
    used = {own, label, *value, *ignored, layout.group, ""}
    if others := [name for name in records.names if name not in used]:
        raise records.misnamed(
            f"'{others[0]}' is neither image, label, value nor group; value={others[0]} or "
            f"ignore={'|'.join(others)} says what it is"
        )
    return [own, label], value


def _column(records: Records, name: str) -> str:
    """Column of the label file; the error says how to name another."""
    if name not in records.names:
        raise records.misnamed(f"no column is '{name}'; column= and value= name others")
    return name


def _check_unlisted(layout: Layout) -> None:
    if layout.unlisted is None:
        raise LabelError(
            f"unlisted must be negative or unknown for layout={layout.kind} without values, got "
            "none: it says what a label is that the file does not list for an image"
        )


def _check_without_values(layout: Layout, encoding: Encoding) -> None:
    if encoding != "binary":
        raise LabelError(
            f"encoding must be left out for layout={layout.kind} without values, got "
            f"'{encoding}'; unlisted= says what is not listed"
        )


def _of_lists(place: Callable[[int], str], of: NDArray[np.int64]) -> Callable[[int], str]:
    """Names the place of a label by its position among those of all lists."""
    return lambda n: place(int(of[n]))


def _values(cells: Sequence[Any], place: Callable[[int], str], column: str) -> Callable[[int], str]:
    return lambda n: f"{quoted(cells[n])} at {place(n)}, column '{column}'"


class _Dividing:
    """Divides the cell of a label list into labels.

    Args:
        sep: A sign or the name of one; empty for lists as such, or in JSON's form.
    """

    def __init__(self, sep: str) -> None:
        self._sign = _SIGNS.get(sep, sep)
        rule = f"a list must be text divided by '{self._sign}'" if sep else (
            "a list must be a JSON list of text, or sep= must say what divides its labels"
        )  # fmt: skip
        self._offences = Offences(rule)

    def __call__(self, cell: Any, place: Callable[[int], str], position: int) -> Sequence[Any]:
        labels = self._labels(cell)
        if labels is None:
            self._offences.add(f"{quoted(cell)} at {place(position)}", self._hint(cell))
            return ()
        return labels

    def check(self) -> None:
        """Raises LabelError if a cell was no list; names the first."""
        self._offences.check()

    def _labels(self, cell: Any) -> Sequence[Any] | None:
        if not isinstance(cell, str):
            return None if self._sign or not isinstance(cell, list) else cell
        text = cell.strip()
        in_json = text.startswith("[") and text.endswith("]")
        if self._sign:
            return None if in_json else [part for part in text.split(self._sign) if part.strip()]
        if not text:
            return ()
        try:
            found = json.loads(text) if in_json else None
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None

    def _hint(self, cell: Any) -> str:
        if self._sign:
            return "leave out sep"
        fits = [name for name, sign in _SIGNS.items() if isinstance(cell, str) and sign in cell]
        return f"sep={' or sep='.join(fits)} may fit" if fits else ""


# --- from entries to labels


def _none() -> _Listed:
    return _Listed(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int8))


def _joined(parts: Sequence[_Listed]) -> _Listed:
    return _Listed(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.states for part in parts]),
    )


def _once(
    entries: _Listed, labels: int, contradiction: Callable[[int, int, int], str] | None = None
) -> _Listed:
    """Entries without repetitions, image by image.

    Args:
        entries: The entries.
        labels: Number of classes.
        contradiction: Message on two values of one entry, from the positions of the first and the
            later one, and the number of such entries.
    """
    keys = entries.rows.astype(np.int64) * labels + entries.columns
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]])
    )
    states = entries.states[order]
    lengths = np.diff(np.append(starts, len(keys)))
    other = np.flatnonzero(states != np.repeat(states[starts], lengths))
    if len(other) and contradiction is not None:
        later = other[order[other].argmin()]
        first = starts[np.searchsorted(starts, later, side="right") - 1]
        many = len(np.unique(keys[other]))
        raise LabelError(contradiction(int(order[first]), int(order[later]), many))
    kept = order[starts]
    return _Listed(entries.rows[kept], entries.columns[kept], entries.states[kept])


def _finished(
    entries: _Listed, images: int, names: Sequence[str], layout: Layout
) -> tuple[PartialLabels, list[str]]:
    """Labels of all images, and the classes: as listed, or else sorted by name."""
    rows, columns, states = entries
    classes = list(names)
    if layout.classes is None:
        classes.sort()
        at = {name: place for place, name in enumerate(classes)}
        columns = np.array([at[name] for name in names], dtype=np.int32)[columns]
    shape = images, len(classes)
    if layout.unlisted == "negative":
        values = np.zeros(shape, dtype=np.bool_)
        values[rows, columns] = states == _POSITIVE
        hidden = states == _HIDDEN
        if not hidden.any():
            return PartialLabels.full(values), classes
        known = np.ones(shape, dtype=np.bool_)
        known[rows[hidden], columns[hidden]] = False
        return PartialLabels(values, known), classes
    told: BoolArray = states != _HIDDEN
    positive = states[told] == _POSITIVE
    return PartialLabels.from_entries(shape, rows[told], columns[told], positive), classes
