"""Label files: labels with image ids and class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from labelattack.errors import LabelError, shown, unknown
from labelattack.files.label_files import (
    ARRAY_KINDS,
    manifest_beside,
    read_label_array,
    read_manifest,
    write_label_file,
)
from labelattack.files.names import canonical, check_names, repeated
from labelattack.files.records import RECORD_KINDS, open_records
from labelattack.files.text import written_lines
from labelattack.labels.containers.arrays import decode
from labelattack.labels.encoding import Encoding, check_encoding, encode
from labelattack.labels.layouts import Content, Layout
from labelattack.labels.listed import read_lists, read_long
from labelattack.labels.partial import PartialLabels
from labelattack.labels.wide import read_wide

WIDE = Layout()
_READERS = {"wide": read_wide, "lists": read_lists, "long": read_long}


class LabelTable(NamedTuple):
    """Content of a label file: labels, image ids, class names, and groups of the images if any."""

    labels: PartialLabels
    ids: list[str]
    classes: list[str]
    groups: list[str] | None = None


def read_labels(
    path: Path, encoding: Encoding, *, array: str = "labels", layout: Layout = WIDE
) -> LabelTable:
    """Reads a label file, as a stream.

    A file that [write_labels][labelattack.labels.files.write_labels] or ``labelattack attack``
    wrote declares its encoding, in the file or in the manifest beside it, and is read in no other.

    Args:
        path: ``.csv`` (separated by commas, semicolons or tabs), ``.tsv``, ``.parquet``, ``.json``
            (a list of objects, or an object of lists), ``.jsonl``; ``.npy`` (matrix) or ``.npz``
            (a matrix and optionally ``image_id`` and ``classes``).
        encoding: Encoding of its values; in text, 1 may be ``true``, 0 ``false``.
        array: Name of the matrix in an ``.npz``.
        layout: Meaning of its columns; by default the first (of Parquet and JSON, ``image_id``)
            names the image, and every other one is a class.

    Returns:
        Labels, ids, classes and groups; running numbers where the file names no ids or classes.
        Images are in the order of the file; classes too, or sorted where no column names them.

    Raises:
        LabelError: If the file is absent, unreadable, of another kind, holds other values,
            declares another encoding, names an image or a class twice, contradicts itself, or
            breaks another rule of the layout.
    """
    content = read_content(path, encoding, array=array, layout=layout)
    images, count = content.labels.shape
    ids = content.ids if content.ids is not None else [str(i) for i in range(images)]
    classes = content.classes if content.classes is not None else [str(i) for i in range(count)]
    return LabelTable(content.labels, ids, classes, content.groups)


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of the classes in a text file, one a line.

    Raises:
        LabelError: If it cannot be read, is empty, or names a class twice.
    """
    try:
        lines = written_lines(path)
    except (OSError, ValueError) as error:
        raise LabelError(f"class file '{path}' must have a name a line: {error}") from error
    names = [line.text for line in lines]
    again = repeated("a class", names, lambda n: f"line {lines[n].number}")
    if again or not names:
        raise LabelError(f"class file '{path}': {again or 'a class must be named, got none'}")
    return tuple(names)


def with_mask(table: LabelTable, path: Path) -> LabelTable:
    """Hides the labels that a mask file does not mark as known.

    Args:
        table: Labels.
        path: File of the same images and classes, in any order where it names them, with 1 for a
            label that is known and 0 for one that is not; in an ``.npz``, the array is ``mask``.

    Raises:
        LabelError: If the file cannot be read, or has other images or classes.
    """
    mask = read_content(path, "binary", array="mask", what="mask")
    known = mask.labels.values
    if known.shape != table.labels.shape and (mask.ids is None or mask.classes is None):
        raise LabelError(
            f"mask '{path}' must have the shape of the labels, {table.labels.shape}, got "
            f"{known.shape}"
        )
    try:
        if mask.ids is not None:
            known = known[order_of("image", mask.ids, table.ids)]
        if mask.classes is not None:
            known = known[:, order_of("class", mask.classes, table.classes)]
    except LabelError as error:
        raise LabelError(f"mask '{path}' {error}") from error
    return table._replace(labels=table.labels.keep(table.labels.at_known(known)))


def order_of(what: str, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Position of each wanted name among others.

    Args:
        what: Kind of thing that is named, for the message.
        names: The names.
        wanted: The same, in another order.

    Raises:
        LabelError: If one is lacking or one too many; names it.
    """
    at = {canonical(name): n for n, name in enumerate(names)}
    keys = [canonical(name) for name in wanted]
    lacking = [name for name, key in zip(wanted, keys, strict=True) if key not in at]
    if lacking:
        raise LabelError(
            f"must have every {what} of the labels, got none for '{lacking[0]}' "
            f"({len(lacking)} such)"
        )
    if len(names) > len(wanted):
        known = set(keys)
        others = [name for name in names if canonical(name) not in known]
        near = str(unknown(what, others[0], wanted)).partition("; ")[2]
        raise LabelError(
            f"must have no {what} without labels, got '{others[0]}' ({len(others)} such); {near}"
        )
    return [at[key] for key in keys]


def read_content(
    path: Path,
    encoding: Encoding,
    *,
    array: str = "labels",
    layout: Layout = WIDE,
    what: str = "label file",
) -> Content:
    """Content of a label file or a mask, checked, without names that the file does not have.

    Args:
        path: As of [read_labels][labelattack.labels.files.read_labels], like all others.
        encoding: Encoding of its values.
        array: Name of the matrix in an ``.npz``.
        layout: Meaning of its columns.
        what: Kind of file, for messages.

    Raises:
        LabelError: As of ``read_labels``.
    """
    check_encoding(encoding)
    kind = path.suffix.lower()
    if kind not in (*RECORD_KINDS, *ARRAY_KINDS):
        raise LabelError(
            f"{what} must end in {', '.join(RECORD_KINDS)}, .npz or .npy, got '{path}'"
        )
    read = _read_array if kind in ARRAY_KINDS else _read_records
    try:
        layout.check()
        content = _inorder_of(read(path, encoding, array, layout), layout.classes)
        ids, classes = content.ids, content.classes
        images, count = content.labels.shape
        named = (
            images if ids is None else len(ids),
            count if classes is None else len(classes),
        )
        if named != (images, count):
            raise LabelError(
                f"it must name every row and column of its {images} x {count} labels, got "
                f"{named[0]} ids and {named[1]} classes"
            )
        check_names(ids or [], classes or [], content.row)
    except LabelError as error:
        raise LabelError(f"{what} '{path}': {error}") from error
    except FileNotFoundError as error:
        raise LabelError(f"{what} '{path}' is not there") from error
    except Exception as error:  # readers of archives raise nearly anything on a damaged one
        raise LabelError(f"{what} '{path}' cannot be read: {error}") from error
    return content


def _read_records(path: Path, encoding: Encoding, _: str, layout: Layout) -> Content:
    records = open_records(path)
    _check_declared(path, records.encoding, encoding)
    return _READERS[layout.kind](records, layout, encoding)


def _read_array(path: Path, encoding: Encoding, array: str, layout: Layout) -> Content:
    given = {"layout": layout.kind if layout.kind != "wide" else "", "image_id": layout.image_id}
    given["ignore"] = "|".join(layout.ignore)
    for name, value in given.items():
        if value:
            raise LabelError(
                f"{name} must be left out for an array, which has no columns with names, got "
                f"'{value}'"
            )
    raw = read_label_array(path, array)
    _check_declared(path, raw.encoding, encoding)
    return Content(decode(raw.matrix, encoding), raw.ids, raw.classes)


def _inorder_of(content: Content, wanted: Sequence[str] | None) -> Content:
    """Content with its classes in the given order; without names of its own, it gets these."""
    if wanted is None or content.classes == list(wanted):
        return content
    if content.classes is not None:
        try:
            order = order_of("class", content.classes, wanted)
        except LabelError as error:
            raise LabelError(f"it {error}") from error
        content = content._replace(labels=content.labels.take_classes(order))
    return content._replace(classes=list(wanted))


def write_labels(path: Path, table: LabelTable, encoding: Encoding) -> None:
    """Writes a label file that [read_labels][labelattack.labels.files.read_labels] reads back.

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
    write_label_file(path, matrix, table.ids, table.classes, encoding)


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
    if declared in get_args(Encoding):
        clean += f"; as encoding '{declared}' they are read with what they hide unknown"
    raise LabelError(
        f"it must be in encoding '{asked}', but says{place} that it {content}{attack}{clean}"
    )
