"""Files of an audit: the entries to review, and the verdicts that come back."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelattack.audit.run import Finding
from labelattack.errors import LabelError, shown, unknown
from labelattack.files.names import as_text, canonical
from labelattack.files.records import RECORD_KINDS, open_records
from labelattack.files.storage import saved
from labelattack.labels import BoolArray, Encoding, LabelTable, PartialLabels

COLUMNS = ("rank", "image", "class", "score", "status", "verdict")
_VERDICTS = {"yes": True, "no": False}


class Verdict(NamedTuple):
    """A verdict of a reviewer: whether a class is on an image.

    Attributes:
        place: Place in the file, for messages.
        row: Position of the image.
        column: Position of the class.
        positive: Whether the class is there.
    """

    place: str
    row: int
    column: int
    positive: bool


class Reviewed(NamedTuple):
    """Labels after a review, and the numbers of its verdicts."""

    table: LabelTable
    yes: int
    no: int


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Writes the entries to review as CSV, with an empty column ``verdict``.

    Raises:
        StoreError: If it cannot be written.
    """
    with saved(path, "audit") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for found in findings:
            writer.writerow([found.rank, found.image, found.label, found.score, found.status, ""])


def read_verdicts(path: Path, table: LabelTable) -> list[Verdict]:
    """Reads the verdicts of a reviewed audit.

    Args:
        path: Table with the columns ``image``, ``class`` and ``verdict``: ``yes``, ``no``, or empty
            where nobody has looked.
        table: Labels that were audited.

    Returns:
        Each verdict that is not empty, each entry once.

    Raises:
        LabelError: If the file cannot be read, names another image or class, has another verdict,
            contradicts itself, or has no verdict; names the place.
    """
    if path.suffix.lower() not in RECORD_KINDS:
        raise LabelError(f"verdicts must end in {', '.join(RECORD_KINDS)}, got '{path}'")
    try:
        found = _verdicts(path, table)
    except LabelError as error:
        raise LabelError(f"verdicts '{path}': {error}") from error
    except FileNotFoundError as error:
        raise LabelError(f"verdicts '{path}' are not there") from error
    except Exception as error:  # readers of archives raise nearly anything on a damaged one
        raise LabelError(f"verdicts '{path}' cannot be read: {error}") from error
    if not found:
        raise LabelError(
            f"verdicts '{path}' must say yes or no in column 'verdict', got an empty one everywhere"
        )
    return found


def reviewed(table: LabelTable, verdicts: Sequence[Verdict], doubted: BoolArray) -> LabelTable:
    """Labels in which the entries with a verdict are known: positive for yes, negative for no.

    Args:
        table: Labels that were audited.
        verdicts: The verdicts.
        doubted: Entries that may be missed positives, bool ``[images, labels]``; the others are
            taken as known.

    Raises:
        LabelError: If a verdict contradicts a known label; names the place.
    """
    values, observed = table.labels.values.copy(), table.labels.observed.copy()
    for place, row, column, positive in verdicts:
        if not doubted[row, column] and values[row, column] != positive:
            has, says = ("positive", "no") if values[row, column] else ("negative", "yes")
            raise LabelError(
                f"{place}: a verdict must not contradict a known label, got '{says}' for class "
                f"'{table.classes[column]}' of image '{table.ids[row]}', which the labels have as "
                f"{has}; correct one of the two"
            )
        values[row, column], observed[row, column] = positive, True
    return table._replace(labels=PartialLabels(values, observed))


def after_review(path: Path, table: LabelTable, doubted: BoolArray, encoding: Encoding) -> Reviewed:
    """Labels after the review of a file of verdicts.

    Args:
        path: File of verdicts.
        table: Labels that were audited.
        doubted: Entries that may be missed positives, bool ``[images, labels]``.
        encoding: Encoding in which the labels will be written. Where it can say so, negatives that
            were doubted and that nobody has looked at become hidden, so that another audit does not
            doubt the reviewed ones again.

    Raises:
        LabelError: As of ``read_verdicts`` and ``reviewed``.
    """
    verdicts = read_verdicts(path, table)
    try:
        changed = reviewed(table, verdicts, doubted)
    except LabelError as error:
        raise LabelError(f"verdicts '{path}': {error}") from error
    if encoding != "binary":
        looked_at = np.zeros_like(doubted)
        for verdict in verdicts:
            looked_at[verdict.row, verdict.column] = True
        kept = changed.labels.at_known(looked_at | ~doubted)
        changed = changed._replace(labels=changed.labels.keep(kept))
    yes = sum(verdict.positive for verdict in verdicts)
    return Reviewed(changed, yes, len(verdicts) - yes)


def _verdicts(path: Path, table: LabelTable) -> list[Verdict]:
    records = open_records(path)
    wanted = [records.check_there(column) for column in ("image", "class", "verdict")]
    rows = {canonical(name): row for row, name in enumerate(table.ids)}
    columns = {canonical(name): column for column, name in enumerate(table.classes)}
    found: dict[tuple[int, int], Verdict] = {}
    for places, cells in records.chunks(wanted):
        for number, image, label, verdict in zip(places, *cells, strict=True):
            place = records.place(number)
            text = "" if verdict is None else str(verdict).strip().lower()
            if not text:
                continue
            if text not in _VERDICTS:
                raise LabelError(
                    f"{place}: a verdict must be yes, no or empty, got {shown(verdict)}"
                )
            at = (
                _position("image", image, rows, table.ids, place),
                _position("class", label, columns, table.classes, place),
            )
            new = Verdict(place, *at, _VERDICTS[text])
            old = found.setdefault(at, new)
            if old.positive != new.positive:
                raise LabelError(
                    f"an entry must have one verdict, got '{'no' if new.positive else 'yes'}' at "
                    f"{old.place} and '{text}' at {place} for class '{label}' of image '{image}'"
                )
    return list(found.values())


def _position(what: str, cell: object, at: dict[str, int], names: Sequence[str], place: str) -> int:
    name = canonical(as_text(cell))
    if name not in at:
        raise LabelError(f"{place}: {unknown(what, name, names)}")
    return at[name]
