"""Label files: labels with image ids and class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from labelattack.errors import LabelError, shown
from labelattack.files.label_files import manifest_beside, read_manifest, read_raw, write_raw
from labelattack.files.names import repeated
from labelattack.labels.encoding import Encoding, check_encoding, decoded, encode
from labelattack.labels.partial import PartialLabels


class LabelTable(NamedTuple):
    """Content of a label file: labels, image ids and class names."""

    labels: PartialLabels
    ids: list[str]
    classes: list[str]


def read_labels(path: Path, encoding: Encoding, *, array: str = "labels") -> LabelTable:
    """Reads a label file.

    A file written by [write_labels][labelattack.labels.write_labels] or ``labelattack attack``
    declares its encoding, in the file or in the manifest beside it, and is read in no other.

    Args:
        path: ``.csv`` (header; first column the image id, one column per class; separated by
            commas, semicolons or tabs; 1 may be ``true``, 0 ``false``), ``.npy`` (matrix) or
            ``.npz`` (a matrix and optionally ``image_id`` and ``classes``).
        encoding: Encoding of its values.
        array: Name of the matrix in an ``.npz``.

    Returns:
        Labels, ids and classes; running numbers where the file names none.

    Raises:
        LabelError: If the file is absent, unreadable, of another kind, holds other values,
            declares another encoding, or names an image or a class twice.
    """
    check_encoding(encoding)
    raw = read_raw(path, array)
    try:
        _check_declared(path, raw.encoding, encoding)
        labels = decoded(raw.matrix, encoding, raw.entry)
        images, count = labels.shape
        ids = raw.ids if raw.ids is not None else [str(i) for i in range(images)]
        classes = raw.classes if raw.classes is not None else [str(i) for i in range(count)]
        if (len(ids), len(classes)) != (images, count):
            raise LabelError(
                f"it must name every row and column of its {images} x {count} labels, got "
                f"{len(ids)} ids and {len(classes)} classes"
            )
        check_names(ids, classes, raw.row)
    except LabelError as error:
        raise LabelError(f"label file '{path}': {error}") from error
    return LabelTable(labels, ids, classes)


def check_names(
    ids: Sequence[str], classes: Sequence[str], row: Callable[[int], str] = "row {}".format
) -> None:
    """Raises LabelError unless every image and every class has a unique, non-empty name.

    Args:
        ids: Name of each image.
        classes: Name of each class.
        row: Names the place of an image in messages.
    """
    columns = "column {}".format
    for what, names, place in (("an image", ids, row), ("a class", classes, columns)):
        if "" in names:
            raise LabelError(f"{what} must have a name, got none at {place(names.index(''))}")
        message = repeated(what, names, place)
        if message:
            raise LabelError(message)


def write_labels(path: Path, table: LabelTable, encoding: Encoding) -> None:
    """Writes a label file that [read_labels][labelattack.labels.read_labels] reads back.

    The write is atomic. The file declares its encoding: in the first header field of a CSV
    (``image_id (signed)``; a plain ``image_id`` means ``binary``), under ``encoding`` in an
    ``.npz``. For an ``.npy``, which has no room for it, the attack's manifest beside it does.

    Args:
        path: File to write; ``.csv``, ``.npy`` (matrix only) or ``.npz``.
        table: Labels with ids and classes.
        encoding: Encoding of the file.

    Raises:
        LabelError: If suffix or encoding cannot hold the labels, or a name occurs twice.
        StoreError: If it cannot be written; a previous file then stays.
    """
    matrix = encode(table.labels, encoding)
    check_names(table.ids, table.classes)
    write_raw(path, matrix, table.ids, table.classes, encoding)


def _check_declared(path: Path, own: str | None, asked: str) -> None:
    """Raises LabelError if a label file declares another encoding than the requested one."""
    account = read_manifest(path)
    hides = account.get("removed_positives") or account.get("removed_negatives")
    declared = account.get("encoding") if own is None else own
    if declared == asked:
        return
    if declared is not None:
        content = f"is in encoding {shown(declared)}"
    elif asked == "binary" and hides:
        content = "hides labels"
    else:
        return
    place = "" if own is not None else f" in '{manifest_beside(path)}'"
    attack = f", left by attack '{account['attack']}'" if "attack" in account else ""
    clean = ": these are attacked labels, not clean ones" if asked == "binary" else ""
    raise LabelError(
        f"it must be in encoding '{asked}', but says{place} that it {content}{attack}{clean}"
    )
