"""Dataset cards: published facts, and the comparison of a copy with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelattack.files.storage import is_there
from labelattack.labels import PartialLabels

MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Published facts of a dataset.

    Attributes:
        title: Its full name.
        labels: Number of classes; None if the card states none.
        images: Number of images in each official list.
        labelled: Number of these with a label, where it differs.
        positives_per_image: Mean number of positives per image, as declared to losses that use it.
        splits: Composition of train, val and test.
        licence: Licence of images and annotations.
        home: Address of the download page.
        layout: Required files, relative to LABELATTACK_DATA.
        checksums: For an official list, the
            [checksum][labelattack.datasets.dataset_card.checksum] of its
            label matrix, where known.
        remarks: What else users must know, a sentence each: choices to make, numbers that must not
            be mixed.
    """

    title: str
    labels: int | None
    images: Mapping[str, int]
    labelled: Mapping[str, int] = field(default_factory=dict)
    positives_per_image: float | None = None
    splits: str = ""
    licence: str = ""
    home: str = ""
    layout: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Finding(NamedTuple):
    """Outcome of one check: expected and actual value, and whether they agree."""

    what: str
    expected: str
    found: str
    fine: bool


def checksum(labels: PartialLabels) -> str:
    """SHA-256 of a label matrix: its shape, then a bit for each entry, 1 if it is positive."""
    parts = hashlib.sha256(f"{labels.shape[0]} x {labels.shape[1]}\n".encode())
    for part in labels.packed("values"):
        parts.update(part)
    return parts.hexdigest()


def counted(what: str, expected: int | None, found: int) -> Finding:
    """Compares a count with the published one, if there is one."""
    fine = found == expected if expected is not None else found > 0
    return Finding(what, "some" if expected is None else f"{expected:,}", f"{found:,}", fine)


def there(path: Path) -> Finding:
    """Checks whether a file or folder exists."""
    fine = is_there(path)
    return Finding(str(path), "there", "there" if fine else MISSING, fine)


def examined(card: Card, name: str, labels: PartialLabels, missing: Sequence[str]) -> list[Finding]:
    """Compares one official list with the card.

    Args:
        card: The card.
        name: Name of the list.
        labels: Labels of all images on the list, missing ones included.
        missing: Names of the missing images.

    Returns:
        Findings on the number of listed images, of images with a label and of image files, and on
        the checksum where it is known.
    """
    count = len(labels)
    findings = [counted(f"{name}: images listed", card.images.get(name), count)]
    if name in card.labelled:
        labelled = int(np.count_nonzero(labels.per_image("positives")))
        findings.append(counted(f"{name}: images with a label", card.labelled[name], labelled))
    files = counted(f"{name}: image files", count, count - len(missing))
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        files = files._replace(found=f"{files.found}; missing {names}")
    findings.append(files)
    if name in card.checksums:
        expected, actual = card.checksums[name], checksum(labels)
        findings.append(
            Finding(f"{name}: label matrix", expected[:12], actual[:12], actual == expected)
        )
    return findings
