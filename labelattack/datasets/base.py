"""Datasets: three splits of images with their labels, complete or not."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.dataset_card import Card, Finding, counted
from labelattack.datasets.images import ArrayImages, FileImages, Images, SomeImages
from labelattack.errors import DatasetError, shown
from labelattack.files.names import repeated
from labelattack.files.storage import expanded
from labelattack.labels import BoolArray, PartialLabels, check_matrix

Progress = Callable[[str, int, int], None]


class Boxes(Protocol):
    """Ground-truth boxes, indexed by image."""

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        """Boxes of one image, ``[boxes, 4]``: top, left, bottom, right in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class SomeBoxes:
    """Boxes of a subset of the images."""

    boxes: Boxes
    rows: NDArray[np.int64]

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        return self.boxes[int(self.rows[index])]

    def fingerprint(self) -> str:
        """Hash of the box files, if any, and of the subset."""
        of_boxes = getattr(self.boxes, "fingerprint", str)
        return hashlib.sha256(of_boxes().encode() + self.rows.tobytes()).hexdigest()


class Split:
    """One split: images with their labels, as far as these are known.

    Args:
        images: The images.
        labels: bool ``[images, labels]``, or partial labels where some are not known.
        ids: Name of each image, unique over all splits of the dataset.
        known: Entries of ``labels`` that are known, bool ``[images, labels]``; None means all. In a
            training split, losses see no others; in a validation split selection, in a test split
            the reported numbers are taken of these alone.
        boxes: Ground-truth boxes of each image, float ``[boxes, 4]``: top, left, bottom, right in
            [0, 1] of the image; None if the dataset has none. Used by the D-Score only.
        groups: Name of the patient, recording, location ... of each image; None if there are none.

    Attributes:
        images: The images.
        partial: The labels.
        ids: Name of each image.
        boxes: Boxes of each image, or None.
        groups: Group of each image, or None.
    """

    def __init__(
        self,
        images: Images,
        labels: BoolArray | PartialLabels,
        ids: Sequence[str],
        known: BoolArray | None = None,
        boxes: Boxes | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        self.images, self.ids, self.boxes, self.groups = images, ids, boxes, groups
        self.partial = _partial(labels, known)
        if not callable(getattr(images, "fingerprint", None)):
            raise DatasetError(
                "images must be read one by one and have a fingerprint, as ArrayImages(pixels) and "
                f"FileImages(folder, names) do, got a {type(images).__name__}"
            )
        if not len(images) == len(self.partial) == len(ids):
            raise DatasetError(
                f"a split must have as many images as labels and ids, got {len(images)}, "
                f"{len(self.partial)} and {len(ids)}"
            )
        if groups is not None and len(groups) != len(ids):
            raise DatasetError(f"a split must have a group for each image, got {len(groups)}")
        if not len(images):
            raise DatasetError("a split must have at least one image, got none")
        odd = next((name for name in ids if not isinstance(name, str)), None)
        if odd is not None:
            raise DatasetError(f"ids of a split must be text, got {shown(odd)}")
        check_once("an id of a split", ids, "row {}".format)

    @cached_property
    def labels(self) -> BoolArray:
        """Known positives, bool ``[images, labels]``."""
        return self.partial.values

    @cached_property
    def known(self) -> BoolArray | None:
        """Entries that are known, bool ``[images, labels]``; None if all are."""
        return None if self.partial.is_complete else self.partial.observed

    @property
    def positive_only(self) -> bool:
        """Whether positives are known and no negative is: labels as users and tags give them."""
        return not self.partial.is_complete and bool(self.partial.known_values.all())

    @property
    def counted(self) -> BoolArray | None:
        """Entries that count at evaluation, bool ``[images, labels]``; None if all do.

        The known ones; where no negative is known there is nothing to rank positives against, and
        all count, unknown ones as negatives.
        """
        return None if self.positive_only else self.known

    @property
    def known_share(self) -> float:
        """Share of the entries that are known, in [0, 1]."""
        images, labels = self.partial.shape
        return len(self.partial.known_values) / (images * labels) if labels else 1.0

    @cached_property
    def class_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives and negatives of each class that count, int64 ``[labels]`` each."""
        positive = self.partial.known_values
        positives = self.partial.per_class(positive)
        known = len(self) if self.positive_only else self.partial.per_class()
        return positives, np.asarray(known - positives)

    def __len__(self) -> int:
        return len(self.partial)

    @cached_property
    def images_fingerprint(self) -> str:
        """Hash of the images at its first use; cached."""
        return self.images.fingerprint()

    @property
    def is_unchanged(self) -> bool:
        """Whether the image files are unchanged since their fingerprint was taken."""
        files = isinstance(self.images, FileImages)
        return not files or self.images.fingerprint() == self.images_fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """Hash of images, ids, labels, and groups and box files if any."""
        parts = hashlib.sha256(self.images_fingerprint.encode())
        parts.update("\n".join(self.ids).encode())
        for part in self.partial.packed("values"):
            parts.update(part)
        parts.update(str(self.partial.shape).encode())
        if not self.partial.is_complete:
            for part in self.partial.packed("observed"):
                parts.update(part)
        # Boxes generated together with the images need no hash of their own.
        if (of_boxes := getattr(self.boxes, "fingerprint", None)) is not None:
            parts.update(of_boxes().encode())
        if self.groups is not None:
            parts.update("\n".join(self.groups).encode())
        return parts.hexdigest()[:16]

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Split of the given rows, in that order."""
        images: Images
        if isinstance(self.images, FileImages):
            images = self.images.take(rows)
        elif isinstance(self.images, ArrayImages):
            images = ArrayImages(self.images.pixels[rows])
        else:
            images = SomeImages(self.images, rows)
        return Split(
            images,
            self.partial.take(rows),
            [self.ids[row] for row in rows],
            boxes=None if self.boxes is None else SomeBoxes(self.boxes, rows),
            groups=None if self.groups is None else [self.groups[row] for row in rows],
        )


def _partial(labels: BoolArray | PartialLabels, known: BoolArray | None) -> PartialLabels:
    """Labels of a split from its arguments."""
    if known is None:
        return labels if isinstance(labels, PartialLabels) else PartialLabels.full(labels)
    check_matrix("known", known)
    values = labels.values if isinstance(labels, PartialLabels) else labels
    check_matrix("labels", values)
    if known.shape != values.shape:
        raise DatasetError(
            f"known must have the shape of the labels, {values.shape}, got {known.shape}"
        )
    return PartialLabels(values, known)


@dataclass(frozen=True, eq=False)
class Splits:
    """A loaded dataset.

    Attributes:
        classes: Name of each label.
        train: Training split, whose labels are attacked.
        val: Split for choosing recipe and epoch.
        test: Split for the reported numbers.
        expected_positives: Declared mean number of positives per image, None if undeclared. It is
            a published figure or a parameter, never counted from the labels under attack.
        notes: Notes to the user on this copy, such as missing images.
    """

    classes: Sequence[str]
    train: Split
    val: Split
    test: Split
    expected_positives: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = next((c for c, n in Counter(self.classes).items() if n > 1), None)
        if twice is not None:
            raise DatasetError(f"classes must have different names, got '{twice}' twice")
        for name, split in self.parts.items():
            if split.partial.shape[1] != len(self.classes):
                raise DatasetError(
                    f"{name} labels must have {len(self.classes)} columns, got "
                    f"{split.partial.shape[1]}"
                )
        _check_apart(self.parts)
        positives, negatives = self.test.class_counts
        if not positives.any():
            raise DatasetError(
                "test labels must have a positive that counts, got none in any class"
            )
        if not (positives * negatives).any():
            raise DatasetError(
                "test labels must have a class with a known positive and a known negative, got "
                f"{np.count_nonzero(positives)} classes with positives and "
                f"{np.count_nonzero(negatives)} others with negatives"
            )

    @property
    def parts(self) -> dict[str, Split]:
        """The splits by name: ``train``, ``val``, ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def read_contents(self, progress: Progress = lambda what, done, total: None) -> None:
        """Hashes image files without a cached hash, so that fingerprints are quick.

        Raises:
            DatasetError: If a file cannot be read.
        """
        for name, split in self.parts.items():
            if isinstance(split.images, FileImages):
                # Fills the cached property, which then reads no file.
                hashed = split.images.fingerprint(partial(progress, f"hashing {name}"))
                vars(split)["images_fingerprint"] = hashed

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all three splits and the class names."""
        parts = [s.fingerprint for s in (self.train, self.val, self.test)] + list(self.classes)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """The notes, and warnings on classes that cannot be learned or scored."""
        warnings = list(self.notes)
        for name, split, so in (
            ("train", self.train, "nothing shows what they are"),
            ("val", self.val, "they have no part in choosing epoch and recipe"),
            ("test", self.test, "their AP is undefined and left out"),
        ):
            positive = split.class_counts[0] > 0
            if not positive.any() and name == "val":
                warnings.append("no positive in val: the last epoch is taken, nothing is chosen")
            elif empty := self._classes(np.flatnonzero(~positive)):
                warnings.append(f"no positive in {name} for {empty}; {so}")
        if full := self._classes(np.flatnonzero(saturated(self.test))):
            warnings.append(f"no negative in test for {full}; their AP is undefined and left out")
        for name, split in self.parts.items():
            if split.positive_only:
                warnings.append(
                    f"no negative is known in {name}: unknown entries count as negative there"
                )
            elif not split.partial.is_complete:
                share = 100 * split.known_share
                known = split.partial.known_values
                warnings.append(
                    f"{share:.3g} % of the entries of {name} are known, "
                    f"{100 * known.mean():.3g} % of these positive"
                )
        return tuple(warnings)

    def _classes(self, columns: NDArray[np.int64]) -> str:
        """Text such as ``2 classes: cat, dog`` for column positions; empty for none."""
        names = [self.classes[column] for column in columns]
        if not names:
            return ""
        return f"{len(names)} classes: {', '.join(names[:5])}{', ...' * (len(names) > 5)}"


def saturated(split: Split) -> BoolArray:
    """Classes of which positives count and no negative does, bool ``[labels]``."""
    positives, negatives = split.class_counts
    return np.asarray((positives > 0) & (negatives == 0))


def check_once(what: str, names: Sequence[str], place: Callable[[int], str]) -> None:
    """Raises DatasetError if a name occurs twice.

    Args:
        what: Kind of thing that must occur once, for the message.
        names: The names.
        place: Names the place of a position.
    """
    message = repeated(what, names, place)
    if message:
        raise DatasetError(message)


def _check_apart(parts: Mapping[str, Split]) -> None:
    """Raises DatasetError if an image is in two of the splits, given by name."""

    def place(row: int) -> str:
        places = (
            f"row {n} of {name}" for name, split in parts.items() for n in range(len(split.ids))
        )
        return next(islice(places, row, None))

    ids = [name for split in parts.values() for name in split.ids]
    check_once("an image of a dataset", ids, place)


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """A dataset that loads [Splits][labelattack.datasets.base.Splits]; fields are its parameters.

    Attributes:
        version: Raise it whenever the loaded data change.
        source: Publication or origin of the data.
        default_model: Model that the benchmark uses if none is named.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    default_model: ClassVar[str] = "resnet50"

    @abstractmethod
    def load(self) -> Splits:
        """Reads labels and locates images; decodes none.

        Raises:
            DatasetError: If a file is absent or damaged; names the file and its expected place.
        """

    def card(self) -> Card | None:
        """Published facts of the dataset; None if there are none."""
        return None

    def examine(self) -> list[Finding]:
        """Compares this copy, as far as it is present, with the card; decodes no image."""
        splits = self.load()
        parts = splits.parts.items()
        return [counted(f"{name}: images", None, len(split.ids)) for name, split in parts]


def data_root(root: str) -> Path:
    """Folder that holds datasets: ``root`` if given, else LABELATTACK_DATA, else ``data``."""
    return expanded(root or os.environ.get("LABELATTACK_DATA", "data"))
