"""Pascal VOC classification, official layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, FileImages, Split, Splits, data_root
from labelattack.errors import DatasetError
from labelattack.seeding import permutation

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
SIDES = ("width", "height")


@register("voc")
@dataclass(frozen=True, kw_only=True)
class PascalVoc(Dataset):
    """Pascal VOC 2007 or 2012, 20 classes, read from VOCdevkit/VOC<year>.

    2007 trains on trainval and tests on the official test split; 2012, whose test labels are not
    public, trains on train and tests on val, as the literature does. ``holdout`` of the training
    images are set aside for validation. Objects marked difficult count as absent in training.

    Args:
        year: 2007 or 2012.
        root: Folder that holds VOCdevkit; default LABELATTACK_DATA, else ./data.
        holdout: Share of the training images used for validation.
        difficult: At evaluation, ``ignore`` leaves difficult cells out (official), ``negative``
            counts them as absent, as many papers do.
        tolerance: Largest share of images that may be missing.
        split_seed: Seed of the hold-out.
    """

    source: ClassVar[str] = "Everingham et al. 2015, host.robots.ox.ac.uk/pascal/VOC"

    year: Literal["2007", "2012"] = "2007"
    root: str = ""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    difficult: Literal["ignore", "negative"] = "ignore"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    split_seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Splits:
        """Reads ImageSets/Main and looks for the images."""
        folder = data_root(self.root) / "VOCdevkit" / f"VOC{self.year}"
        if not folder.is_dir():
            raise DatasetError(
                f"dataset 'voc' needs the folder '{folder}' with ImageSets/Main and JPEGImages, "
                "which is not there; unpack the official archive there, or set LABELATTACK_DATA "
                "or voc:root=FOLDER to what holds VOCdevkit"
            )
        names = ("trainval", "test") if self.year == "2007" else ("train", "val")
        images = {path.stem for path in (folder / "JPEGImages").glob("*.jpg")}
        (learn, learn_missing), (test, test_missing) = (
            self._read(folder, name, images) for name in names
        )
        order = permutation(len(learn.labels), self.split_seed, "voc-holdout")
        cut = round(len(order) * self.holdout)
        # Difficult cells are left out at the final evaluation only.
        learn = Split(learn.images, learn.labels, learn.ids)
        missing = learn_missing + test_missing
        total = len(learn.labels) + len(test.labels) + len(missing)
        notes = []
        if missing:
            notes.append(
                f"voc {self.year}: {len(missing)} of {total} images are missing and left out: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
            )
        if len(missing) > self.tolerance * total:
            raise DatasetError(
                f"dataset 'voc' may miss {self.tolerance:.1%} of its images, got "
                f"{len(missing) / total:.1%} ({len(missing)} of {total}) under "
                f"'{folder / 'JPEGImages'}'; complete it or raise voc:tolerance"
            )
        return Splits(
            CLASSES,
            train=learn.take(np.sort(order[cut:])),
            val=learn.take(np.sort(order[:cut])),
            test=test,
            expected_positives=1.5,
            notes=tuple(notes),
        )

    def _read(self, folder: Path, split: str, images: set[str]) -> tuple[Split, list[str]]:
        columns = []
        ids: list[str] = []
        for name in CLASSES:
            path = folder / "ImageSets" / "Main" / f"{name}_{split}.txt"
            try:
                rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
                column = [int(sign) for _, sign in rows]
            except FileNotFoundError as error:
                raise DatasetError(f"dataset 'voc' needs '{path}', which is not there") from error
            except (OSError, ValueError) as error:
                raise DatasetError(f"'{path}' must hold lines 'image sign': {error}") from error
            if not set(column) <= {-1, 0, 1}:
                raise DatasetError(f"'{path}' must hold signs -1, 0 or 1, got {set(column)}")
            if ids and ids != [image for image, _ in rows]:
                raise DatasetError(f"'{path}' must list the same images as the other classes")
            ids = [image for image, _ in rows]
            columns.append(column)
        signs = np.array(columns, dtype=np.int8).T
        there = np.array([name in images for name in ids], dtype=np.bool_)
        missing = [name for name in ids if name not in images]
        ids = [name for name in ids if name in images]
        if not ids:
            raise DatasetError(f"no image of '{split}' is under '{folder / 'JPEGImages'}'")
        signs = signs[there]
        paths = [folder / "JPEGImages" / f"{name}.jpg" for name in ids]
        scored = signs != 0 if self.difficult == "ignore" else None
        annotations = [folder / "Annotations" / f"{name}.xml" for name in ids]
        boxes = VocBoxes(annotations) if annotations[0].is_file() else None
        return Split(FileImages(paths), signs == 1, ids, scored, boxes), missing


@dataclass(frozen=True, eq=False)
class VocBoxes:
    """Boxes of objects that are not marked difficult, read from XML when they are asked for."""

    paths: list[Path]

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        path = self.paths[index]
        try:
            root = ElementTree.parse(path).getroot()
            width, height = (float(root.findtext(f"size/{side}", "")) for side in SIDES)
            corners = [
                [float(box.findtext(name, "")) for name in ("ymin", "xmin", "ymax", "xmax")]
                for thing in root.iter("object")
                if thing.findtext("difficult") != "1"
                for box in thing.findall("bndbox")
            ]
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DatasetError(f"annotation '{path}' cannot be read: {error}") from error
        found = np.array(corners, dtype=np.float64).reshape(-1, 4)
        # Pixels are counted from 1 and both corners belong to the box.
        found[:, :2] -= 1
        relative: NDArray[np.float64] = found / np.array([height, width, height, width])
        return relative
