"""Label files with a column for each class."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labelattack.files.records import Chunk, Records
from labelattack.labels.encoding import Decoder, Encoding, number_in, numbers_in
from labelattack.labels.layouts import Content, Groups, Layout, names_in, places_of, quoted
from labelattack.labels.partial import PartialLabels

# Header names of the id column; any other text may be an image name in a file without header.
_ID_COLUMNS = ("", "image_id", "id", "image", "file", "filename", "file_name", "name", "path")
_HINT = (
    "ignore= leaves out columns that are no classes, and layout=lists or layout=long reads labels "
    "by name"
)


def read_wide(records: Records, layout: Layout, encoding: Encoding) -> Content:
    """Reads labels from records with a column for each class.

    Args:
        records: The records.
        layout: Names the columns that are no classes.
        encoding: Encoding of the values.

    Raises:
        LabelError: If a value is not of the encoding; names the first, and counts them.
        ValueError: If the file is damaged, or its columns have no proper names.
    """
    id_column, classes = _columns(records, layout)
    groups = Groups(records, layout)
    decoder, ids, places = Decoder(encoding), list[str](), array("q")
    wrong: list[Any] = []
    empty = np.zeros((0, len(classes)), dtype=np.bool_)
    positives, knowns = [empty], [empty]
    for chunk in records.chunks([id_column, *classes, *groups.columns]):
        ids += names_in(chunk.columns[0], places_of(records, chunk))
        places.extend(chunk.places)
        groups.add(chunk)
        cells = chunk.columns[1 : 1 + len(classes)]
        numbers = np.stack([numbers_in(column) for column in cells], axis=1)
        positive, known = decoder.decode(numbers, _entries(records, chunk, cells, classes, wrong))
        positives.append(positive)
        knowns.append(known)
    decoder.check(hint=_HINT if any(map(_is_text, wrong)) else "")
    labels = PartialLabels(np.concatenate(positives), np.concatenate(knowns))
    of_images = groups.of(np.arange(len(ids)), ids)
    return Content(labels, ids, classes, of_images, lambda row: records.place(places[row]))


def _columns(records: Records, layout: Layout) -> tuple[str, list[str]]:
    """Column of the ids, and those of the classes."""
    own = records.check_there(layout.image_id or records.id_column)
    # A first column without a name that is not the image's is the index of a data frame.
    others = {layout.group, *map(records.check_there, layout.ignore), ""}
    at = records.names.index(own)
    classes = [name for n, name in enumerate(records.names) if n != at and name not in others]
    if not classes:
        raise records.misnamed(
            "there must be an id column and one column for each class" + records.divided_by
        )
    # Only a text file may lack a header.
    doubtful = records.divided_by and not layout.image_id and own.lower() not in _ID_COLUMNS
    if doubtful and all(number_in(name) != np.inf for name in records.names[1:]):
        raise records.misnamed(
            "these are labels and name no classes (if they do, call the first column image_id)"
        )
    records.check_names()
    return own, classes


def _entries(
    records: Records,
    chunk: Chunk,
    cells: Sequence[Sequence[Any]],
    classes: Sequence[str],
    wrong: list[Any],
) -> Callable[[int, int], str]:
    """Names value and place of an entry by its positions in a chunk, and notes the value."""
    place = places_of(records, chunk)

    def entry(row: int, column: int) -> str:
        wrong.append(cells[column][row])
        return f"{quoted(cells[column][row])} at {place(row)}, column '{classes[column]}'"

    return entry


def _is_text(cell: Any) -> bool:
    """Whether a cell holds words, or a list of them."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return True
    return False
