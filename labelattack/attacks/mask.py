"""A published mask: the labels that a file says stay known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack
from labelattack.errors import LabelError
from labelattack.files.content import content_digest
from labelattack.files.label_files import read_array
from labelattack.files.names import as_texts, canonical, repeated
from labelattack.files.storage import FilePath
from labelattack.files.text import written_lines
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.encoding import Encoding
from labelattack.labels.files import order_of, read_content

MaskEncoding = Literal["mask", "positives", "signed", "missing", "nan"]


@register("mask")
@dataclass(frozen=True, kw_only=True)
class MaskAttack(LabelAttack):
    """Keeps the labels that a file keeps, so that a row is comparable with published ones.

    The seed has no part in it. Images are matched by their names: as they are, without folders and
    suffix, or by the number at their end (``COCO_train2014_000000480023.jpg`` is 480023), whichever
    fits all. The file may have more images than the labels. Where it says more than what is known,
    its labels must agree with those that are attacked.

    Args:
        file: ``.csv``, ``.npz`` or ``.npy`` with a matrix, or ``.txt`` with lines
            ``image,class class ...`` of kept positives by class number from 0 (Zhang et al. 2021,
            Simple and Robust Loss Design for Multi-Label Learning with Missing Labels).
        encoding: Codes of its matrix; publications differ, so it must be said: ``mask`` has 1 for
            known, 0 for hidden; ``positives`` 1 for a positive that is kept, 0 for all else;
            ``signed`` 1, -1, 0 for positive, negative, hidden (Cole et al. 2021); ``missing`` 1, 0,
            -1; ``nan`` 1, 0, NaN.
        images: Names of the matrix' rows, where the file has none: ``.npy`` of text, or ``.txt``
            with a name a line. Without names, rows are those of the labels, in their order.
        array: Name of the matrix in an ``.npz``.
    """

    source: ClassVar[str] = "the publication of the mask"

    file: FilePath
    encoding: MaskEncoding
    images: FilePath = ""
    array: str = "labels"

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps what the file keeps."""
        del rng
        mask = _read(
            self, _digest(self.file), self.images and _digest(self.images), labels.shape[1]
        )
        try:
            found = _fitted(mask, labels)
            if self.encoding != "mask":
                _check_agreement(found, labels)
        except LabelError as error:
            raise LabelError(f"mask file '{self.file}': {error}") from error
        return labels.at_known(found.observed)


def _digest(path: str) -> str:
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise LabelError(f"mask file '{path}' cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _read(attack: MaskAttack, digest: str, of_images: str, classes: int) -> PartialLabels:
    """Mask of a file, with the names that it has; the hashes are there for the cache."""
    path = Path(attack.file)
    try:
        if path.suffix.lower() == ".txt":
            return _read_positives(path, attack.encoding, classes)
        names = _names(Path(attack.images)) if attack.images else None
    except LabelError as error:
        raise LabelError(f"mask file '{path}': {error}") from error
    ones = attack.encoding in ("mask", "positives")
    encoding = "binary" if ones else cast(Encoding, attack.encoding)
    content = read_content(path, encoding, array=attack.array, what="mask file")
    mask, kept = content.labels, content.labels.values
    mask = PartialLabels(kept, kept) if ones else mask
    ids = content.ids if names is None else names
    given = len(mask) if ids is None else len(ids), mask.shape[1]
    for what, wanted, got in zip(
        ("names of its rows", "classes"), (len(mask), classes), given, strict=True
    ):
        if wanted != got:
            raise LabelError(f"mask file '{path}' must have {wanted} {what}, got {got}")
    return mask.named(ids, content.classes)


def _names(path: Path) -> list[str]:
    """Names in a text array or a list."""
    try:
        if path.suffix.lower() == ".npy":
            return as_texts(read_array(path))
        return [line.text for line in written_lines(path)]
    except Exception as error:  # the reader may raise any exception on a hostile header
        raise LabelError(f"names of images '{path}' cannot be read: {error}") from error


def _read_positives(path: Path, encoding: str, classes: int) -> PartialLabels:
    """Kept positives of a list ``image,class class ...``."""
    if encoding != "positives":
        raise LabelError(f"a .txt lists positives and must be read so, got encoding '{encoding}'")
    try:
        lines = written_lines(path)
    except (OSError, ValueError) as error:
        raise LabelError(f"it cannot be read: {error}") from error
    names: list[str] = []
    kept = np.zeros((len(lines), classes), dtype=np.bool_)
    for row, line in enumerate(lines):
        name, comma, numbers = line.text.partition(",")
        for number in numbers.split() if comma else ["no comma"]:
            if not number.isdecimal() or int(number) >= classes:
                raise LabelError(
                    f"it must hold lines 'image,class class ...' with classes 0 to {classes - 1}, "
                    f"got {line}"
                )
            kept[row, int(number)] = True
        names.append(name.strip())
    return PartialLabels(kept, kept).named(names)


def _fitted(mask: PartialLabels, labels: PartialLabels) -> PartialLabels:
    """Rows and columns of a mask in the order of the labels."""
    if mask.ids is not None:
        if labels.ids is None:
            raise LabelError("its rows have names, so the images must have names, got none")
        fitted = mask.take(_rows(tuple(mask.ids), tuple(labels.ids)))
    elif len(mask) == len(labels):
        fitted = mask
    else:
        raise LabelError(
            f"without names it must have a row for each of the {len(labels)} images, got "
            f"{len(mask)}; name its rows with mask:images=FILE"
        )
    if mask.classes is None or labels.classes is None:
        return fitted
    try:
        return fitted.take_classes(order_of("class", mask.classes, labels.classes))
    except LabelError as error:
        raise LabelError(f"it {error}") from error


def _stem(name: str) -> str:
    return PurePosixPath(canonical(name)).stem


def _number(name: str) -> str:
    digits = re.search(r"\d+$", _stem(name))
    return digits.group().lstrip("0") if digits else name


@lru_cache(maxsize=4)
def _rows(names: tuple[str, ...], ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Row of each image in a mask; every run asks for the same.

    Raises:
        LabelError: If no rule matches every image with one row.
    """
    if twice := repeated("an image", names, "row {}".format):
        raise LabelError(twice)
    fewest = list(ids)
    for rule in (canonical, _stem, _number):
        row = {rule(name): number for number, name in enumerate(names)}
        wanted = [rule(name) for name in ids]
        lost = [name for name, key in zip(ids, wanted, strict=True) if key not in row]
        if not lost and len(row) == len(names) and len(set(wanted)) == len(wanted):
            return np.array([row[key] for key in wanted], dtype=np.int64)
        fewest = min(fewest, lost, key=len)
    if fewest:
        raise LabelError(
            f"it must have every image, got none for '{fewest[0]}' ({len(fewest)} such)"
        )
    raise LabelError("its names must tell its rows apart, got several that end alike")


def _check_agreement(mask: PartialLabels, labels: PartialLabels) -> None:
    """Raises LabelError where known labels of the two differ."""
    differs = mask.observed & labels.observed & (mask.values != labels.values)
    if not differs.any():
        return
    row, column = (int(place) for place in np.argwhere(differs)[0])
    image = labels.ids[row] if labels.ids else f"row {row}"
    name = labels.classes[column] if labels.classes else f"column {column}"
    signs = ("negative", "positive")
    raise LabelError(
        f"its labels must be those of the images, got '{name}' "
        f"{signs[int(mask.values[row, column])]} on '{image}' where it is "
        f"{signs[int(labels.values[row, column])]} ({int(differs.sum())} such); its rows or "
        "classes may be in another order"
    )
