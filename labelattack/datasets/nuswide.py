"""NUS-WIDE, official layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.division import hold_out
from labelattack.datasets.images import FileImages, inside
from labelattack.datasets.official import Listing, absent, assemble, listed, required
from labelattack.errors import DatasetError
from labelattack.files.storage import FilePath
from labelattack.files.text import UTF8_BOM, check_utf8_mark, line_of, split_lines
from labelattack.labels import BoolArray, PartialLabels

EXPECTED_POSITIVES = 1.9
_LISTS = ("Train", "Test")
_WHITE = np.frombuffer(b" \t\r\n", dtype=np.uint8)
_ENDS = np.frombuffer(b"\r\n", dtype=np.uint8)


@register("nus-wide")
@dataclass(frozen=True, kw_only=True)
class NusWide(Dataset):
    """NUS-WIDE, 81 concepts, official training and test lists; 22 % of the rows have no label.

    ``holdout`` of the training images are set aside for validation. The images were published as
    addresses, many of which are dead: raise ``tolerance`` to what your copy misses, and say so with
    your numbers.

    Args:
        root: Folder that holds NUS-WIDE; default LABELATTACK_DATA, else ./data.
        images: Folder of the images within NUS-WIDE.
        holdout: Share of the training images used for validation.
        tolerance: Largest share of images that may be missing.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Chua et al. 2009"
    references: ClassVar[str] = "chua2009"

    root: FilePath = ""
    images: str = "Flickr"
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    split_seed: Annotated[int, Field(ge=0)] = 0

    def card(self) -> Card:
        """Official lists."""
        return Card(
            title="NUS-WIDE, 81 concepts",
            labels=81,
            images={"Train": 161789, "Test": 107859},
            positives_per_image=EXPECTED_POSITIVES,
            splits=f"train and val: TrainImagelist, {self.holdout:.0%} held out; "
            "test: TestImagelist",
            licence="for research; images under the terms of Flickr",
            home="https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html",
            layout=(
                "NUS-WIDE/ConceptsList/Concepts81.txt",
                "NUS-WIDE/ImageList/TrainImagelist.txt and TestImagelist.txt",
                "NUS-WIDE/Groundtruth/TrainTestLabels/Labels_*_Train.txt and Labels_*_Test.txt",
                f"NUS-WIDE/{self.images}/<concept>/*.jpg",
            ),
            remarks=(
                "official repository: https://github.com/NExTplusplus/NUS-WIDE; its copy (2025) of "
                "labels and concepts: https://huggingface.co/datasets/Lxyhaha/NUS-WIDE",
                "four splits are in use, whose numbers must not be mixed: 161,789/107,859 (this "
                "one), 150,000/60,260, 119,103/50,720 and 97,214/65,075 (21 classes)",
                "images are about 240 pixels, so that a larger input size adds no detail",
            ),
        )

    def load(self) -> Splits:
        """Reads lists and labels and locates the images."""
        listings = [self._read(name) for name in _LISTS]
        (learn, test), notes = assemble("nus-wide", self.tolerance, listings)
        train, val = hold_out(learn, self.holdout, self.split_seed, "nus-wide-holdout")
        return Splits(self._concepts(), train, val, test, EXPECTED_POSITIVES, notes)

    def examine(self) -> list[Finding]:
        """Compares lists, labels and images with the card."""
        names = ("ConceptsList/Concepts81.txt", "Groundtruth/TrainTestLabels", self.images)
        lists = [self._list(split) for split in _LISTS]
        findings = [there(path) for path in [*(self._folder / name for name in names), *lists]]
        if all(finding.fine for finding in findings):
            for split in _LISTS:
                listing = self._read(split)
                findings += examined(self.card(), split, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "NUS-WIDE"

    def _list(self, split: str) -> Path:
        return self._folder / "ImageList" / f"{split}Imagelist.txt"

    def _lines(self, path: Path, what: str) -> list[str]:
        """Lines of a list, each of which must be unique."""
        lines = listed(required("nus-wide", path, self.card().layout), f"{what}s, a line each")
        texts = [line.text for line in lines]
        check_once(f"'{path}': a line", texts, lambda row: f"line {lines[row].number}")
        return texts

    def _concepts(self) -> list[str]:
        return self._lines(self._folder / "ConceptsList" / "Concepts81.txt", "concept")

    def _read(self, split: str) -> Listing:
        # The lists come from Windows.
        names = self._lines(self._list(split), "image")
        files = [name.replace("\\", "/") for name in names]
        concepts = self._concepts()
        signs_folder = self._folder / "Groundtruth" / "TrainTestLabels"
        columns = [f"Labels_{concept}_{split}.txt" for concept in concepts]
        inside(signs_folder, columns)
        labels: BoolArray = np.zeros((len(files), len(concepts)), dtype=np.bool_)
        for column, name in enumerate(columns):
            path = required("nus-wide", signs_folder / name, self.card().layout)
            signs = _binary(path)
            if len(signs) != len(files):
                raise DatasetError(
                    f"'{path}' must have one line for each of the {len(files)} images of "
                    f"'{self._list(split)}', got {len(signs)}"
                )
            labels[:, column] = signs
        inside(self._folder, [self.images])
        folder = required("nus-wide", self._folder / self.images, self.card().layout)
        return Listing(split, FileImages(folder, files), files, PartialLabels.full(labels))


def _binary(path: Path) -> NDArray[np.bool_]:
    """Reads a file of lines 0 and 1 as bytes, since there are twenty million lines."""
    try:
        content = path.read_bytes().removeprefix(UTF8_BOM)
        check_utf8_mark(content)
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' cannot be read: {error}") from error
    raw = np.frombuffer(content, dtype=np.uint8)
    places = np.flatnonzero(~np.isin(raw, _WHITE))
    digits = raw[places]
    foreign = ~np.isin(digits, (48, 49))
    # No line has two digits: between any two is a line end.
    ends = np.cumsum(np.isin(raw, _ENDS))[places]
    foreign[1:] |= ends[1:] == ends[:-1]
    if foreign.any():
        before = content[: places[foreign.argmax()]].decode("latin-1")
        line = line_of(before)
        text = split_lines(content.decode("latin-1"))[line - 1]
        raise DatasetError(
            f"'{path}' must hold a line 0 or 1 for each image, got line {line}: '{text.strip()}'"
        )
    signs: NDArray[np.bool_] = digits == 49
    return signs
