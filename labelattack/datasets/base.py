"""What a dataset is: three splits of images with clean labels."""

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
from labelattack.labels import BoolArray, check_matrix

Progress = Callable[[str, int, int], None]


class Boxes(Protocol):
    """Ground-truth boxes by position of the image."""

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        """Boxes of one image, ``[boxes, 4]``: top, left, bottom, right in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class SomeBoxes:
    """The boxes of some of the images."""

    boxes: Boxes
    rows: NDArray[np.int64]

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        return self.boxes[int(self.rows[index])]

    def fingerprint(self) -> str:
        """Hash of all the boxes, where they are in files, and of which are taken."""
        of_boxes = getattr(self.boxes, "fingerprint", str)
        return hashlib.sha256(of_boxes().encode() + self.rows.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their clean labels.

    Attributes:
        images: The images.
        labels: bool ``[images, labels]``.
        ids: Name of each image; all differ, also from those of the dataset's other splits.
        scored: Cells that count at evaluation, bool ``[images, labels]``; None means all.
        boxes: Ground-truth boxes of each image, float ``[boxes, 4]``: top, left, bottom, right in
            [0, 1] of the image; None if the dataset has none. Used for diagnosis only.
    """

    images: Images
    labels: BoolArray
    ids: Sequence[str]
    scored: BoolArray | None = None
    boxes: Boxes | None = None

    def __post_init__(self) -> None:
        check_matrix("labels", self.labels)
        if not callable(getattr(self.images, "fingerprint", None)):
            raise DatasetError(
                "images must be read one by one and have a fingerprint, as ArrayImages(pixels) and "
                f"FileImages(folder, names) do, got a {type(self.images).__name__}"
            )
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise DatasetError(
                f"a split must have as many images as labels and ids, got {len(self.images)}, "
                f"{len(self.labels)} and {len(self.ids)}"
            )
        if not len(self.images):
            raise DatasetError("a split must have at least one image, got none")
        odd = next((name for name in self.ids if not isinstance(name, str)), None)
        if odd is not None:
            raise DatasetError(f"ids of a split must be text, got {shown(odd)}")
        check_once("an id of a split", self.ids, "row {}".format)
        if self.scored is not None and self.scored.shape != self.labels.shape:
            raise DatasetError(
                f"scored must have the shape of the labels, {self.labels.shape}, got "
                f"{self.scored.shape}"
            )

    @property
    def positives(self) -> BoolArray:
        """Positives that count at evaluation, bool ``[images, labels]``."""
        return self.labels if self.scored is None else self.labels & self.scored

    @property
    def saturated(self) -> BoolArray:
        """Classes with positives and no negative that count, bool ``[labels]``."""
        full = self.labels if self.scored is None else self.labels | ~self.scored
        return np.logical_and(full.all(axis=0), self.positives.any(axis=0))

    @cached_property
    def images_fingerprint(self) -> str:
        """Hash of the images, as they were when it was first asked for."""
        return self.images.fingerprint()

    @property
    def is_unchanged(self) -> bool:
        """Whether image files still are what they were when their fingerprint was taken."""
        files = isinstance(self.images, FileImages)
        return not files or self.images.fingerprint() == self.images_fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """Hash of images, ids, labels, and boxes where these are in files."""
        parts = hashlib.sha256(self.images_fingerprint.encode())
        parts.update("\n".join(self.ids).encode())
        parts.update(np.packbits(self.labels).tobytes() + str(self.labels.shape).encode())
        if self.scored is not None:
            parts.update(np.packbits(self.scored).tobytes())
        # Boxes that are drawn with the images need no hash of their own.
        if (of_boxes := getattr(self.boxes, "fingerprint", None)) is not None:
            parts.update(of_boxes().encode())
        return parts.hexdigest()[:16]

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The given rows, in that order."""
        images: Images
        if isinstance(self.images, FileImages):
            images = self.images.take(rows)
        elif isinstance(self.images, ArrayImages):
            images = ArrayImages(self.images.pixels[rows])
        else:
            images = SomeImages(self.images, rows)
        scored = None if self.scored is None else self.scored[rows]
        boxes = None if self.boxes is None else SomeBoxes(self.boxes, rows)
        return Split(images, self.labels[rows], [self.ids[row] for row in rows], scored, boxes)


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset, loaded.

    Attributes:
        classes: Name of each label.
        train: Training split; its labels are what an attack is given.
        val: Split for choosing recipe and epoch.
        test: Split for the numbers that are reported.
        expected_positives: Declared mean number of positives per image, None if undeclared. A
            published figure or parameter, never counted from labels that an attack hides.
        notes: What a user should know of this copy, such as images that are missing.
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
            if split.labels.shape[1] != len(self.classes):
                raise DatasetError(
                    f"{name} labels must have {len(self.classes)} columns, got "
                    f"{split.labels.shape[1]}"
                )
        _check_apart(self.parts)
        if not self.test.positives.any():
            raise DatasetError(
                "test labels must have a positive that counts, got none in any class"
            )

    @property
    def parts(self) -> dict[str, Split]:
        """The splits by name: ``train``, ``val``, ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def read_contents(self, progress: Progress = lambda what, done, total: None) -> None:
        """Hashes image files that were not hashed before, so that fingerprints are quick.

        Raises:
            DatasetError: If one cannot be read.
        """
        for name, split in self.parts.items():
            if isinstance(split.images, FileImages):
                # Where the cached property keeps it: asked for again, it looks at no file.
                hashed = split.images.fingerprint(partial(progress, f"hashing {name}"))
                vars(split)["images_fingerprint"] = hashed

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all three splits and the class names."""
        parts = [s.fingerprint for s in (self.train, self.val, self.test)] + list(self.classes)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """The notes, and every class that cannot be learned or scored."""
        found = list(self.notes)
        for name, split, so in (
            ("train", self.train, "nothing shows what they are"),
            ("val", self.val, "they have no part in choosing epoch and recipe"),
            ("test", self.test, "their AP is undefined and left out"),
        ):
            positive = split.positives.any(axis=0)
            if not positive.any() and name == "val":
                found.append("no positive in val: the last epoch is taken, nothing is chosen")
            elif empty := self._classes(np.flatnonzero(~positive)):
                found.append(f"no positive in {name} for {empty}; {so}")
        if full := self._classes(np.flatnonzero(self.test.saturated)):
            found.append(f"no negative in test for {full}; any model has an AP of 1 there")
        return tuple(found)

    def _classes(self, columns: NDArray[np.int64]) -> str:
        """``2 classes: cat, dog`` of those in some columns; empty for none."""
        names = [self.classes[column] for column in columns]
        if not names:
            return ""
        return f"{len(names)} classes: {', '.join(names[:5])}{', ...' * (len(names) > 5)}"


def check_once(what: str, names: Sequence[str], place: Callable[[int], str]) -> None:
    """Raises DatasetError if a name is there twice.

    Args:
        what: What must occur once, for the message.
        names: The names.
        place: How to call the place of the name at a position.
    """
    message = repeated(what, names, place)
    if message:
        raise DatasetError(message)


def _check_apart(parts: Mapping[str, Split]) -> None:
    """Raises DatasetError if an image is in two of the splits, which are given with their names."""

    def place(row: int) -> str:
        places = (
            f"row {n} of {name}" for name, split in parts.items() for n in range(len(split.ids))
        )
        return next(islice(places, row, None))

    ids = [name for split in parts.values() for name in split.ids]
    check_once("an image of a dataset", ids, place)


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Produces [Splits][labelattack.datasets.base.Splits]; fields are its parameters.

    Attributes:
        version: Raise it whenever what it produces changes.
        source: Where the data come from.
        default_model: Model that the benchmark takes if none is named.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    default_model: ClassVar[str] = "resnet50"

    @abstractmethod
    def load(self) -> Splits:
        """Reads labels and finds images; decodes none.

        Raises:
            DatasetError: If something is absent or damaged; says what was looked for, and where.
        """

    def card(self) -> Card | None:
        """What is published about it; None if nothing is."""
        return None

    def examine(self) -> list[Finding]:
        """Compares this copy with what is published, as far as it is there; decodes no image."""
        splits = self.load()
        parts = splits.parts.items()
        return [counted(f"{name}: images", None, len(split.ids)) for name, split in parts]


def data_root(root: str) -> Path:
    """Folder that holds datasets: ``root`` if given, else LABELATTACK_DATA, else ``data``."""
    return expanded(root or os.environ.get("LABELATTACK_DATA", "data"))
