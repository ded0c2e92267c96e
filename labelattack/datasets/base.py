"""Datasets: three splits of images with their labels, complete or not."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.dataset_card import Card, Finding, counted
from labelattack.datasets.images import FileImages
from labelattack.datasets.split import Boxes as Boxes
from labelattack.datasets.split import SomeBoxes as SomeBoxes
from labelattack.datasets.split import Split as Split
from labelattack.datasets.split import check_once as check_once
from labelattack.datasets.split import saturated as saturated
from labelattack.errors import DatasetError
from labelattack.files.storage import expanded
from labelattack.labels import NO_SIDE_TABLES, SideTables

Progress = Callable[[str, int, int], None]


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
        side: Side tables of the training images and classes, for losses that declare them.
    """

    classes: Sequence[str]
    train: Split
    val: Split
    test: Split
    expected_positives: float | None = None
    notes: tuple[str, ...] = ()
    side: SideTables = NO_SIDE_TABLES

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
            split.partial = split.partial.named(split.ids, self.classes)
        self.side.check(len(self.train.ids), len(self.classes))
        _check_apart(self.parts)
        check_scorable(self.test)

    @property
    def parts(self) -> dict[str, Split]:
        """The splits by name: ``train``, ``val``, ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def side_tables(self) -> SideTables:
        """Side tables, with the groups of the training images if these have any."""
        if self.side.groups is not None or self.train.groups is None:
            return self.side
        return replace(self.side, groups=tuple(self.train.groups))

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
        parts += [side] if (side := self.side.digest()) else []
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
                of_known = split.partial.known_positives / max(split.partial.known, 1)
                warnings.append(
                    f"{share:.3g} % of the entries of {name} are known, "
                    f"{100 * of_known:.3g} % of these positive"
                )
        return tuple(warnings)

    def _classes(self, columns: NDArray[np.int64]) -> str:
        """Text such as ``2 classes: cat, dog`` for column positions; empty for none."""
        names = [self.classes[column] for column in columns]
        if not names:
            return ""
        return f"{len(names)} classes: {', '.join(names[:5])}{', ...' * (len(names) > 5)}"


def check_scorable(test: Split) -> None:
    """Raises DatasetError if no class of a test split has an average precision."""
    positives, negatives = test.class_counts
    if not positives.any():
        raise DatasetError("test labels must have a positive that counts, got none in any class")
    if not (positives * negatives).any():
        raise DatasetError(
            "test labels must have a class with a known positive and a known negative, got "
            f"{np.count_nonzero(positives)} classes with positives and "
            f"{np.count_nonzero(negatives)} others with negatives"
        )


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
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        default_model: Model that the benchmark uses if none is named.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    default_model: ClassVar[str] = "resnet50"

    @abstractmethod
    def load(self) -> Splits:
        """Reads labels and locates images; decodes none.

        Raises:
            DatasetError: If a file is absent or damaged; names the file and its expected place.
        """

    def official_folder(self) -> Path | None:
        """Folder in which a copy is expected, whether it is there or not; None if in none."""
        return self._folder

    @property
    def _folder(self) -> Path | None:
        return None

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
