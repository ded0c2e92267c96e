"""The embedded dataset: several real handwritten digits on a cluttered canvas."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Split, Splits
from labelattack.datasets.images import ArrayImages
from labelattack.labels.objects import ImageObjects, ObjectList
from labelattack.seeding import generator, permutation

Bias = Literal["none", "left", "right", "top", "bottom"]
_SIDE = 8  # side of a source digit, in pixels
_PLACES = 20  # attempts to place a digit without overlap, before it is left out


@register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """Multi-label digits: which of 0 to 9 are somewhere on the canvas. No download.

    The 1,797 handwritten digits that ship with scikit-learn are divided among train, val and test
    before any canvas is drawn, so no test canvas shows a digit seen in training.

    Args:
        train: Number of training canvases.
        val: Number of validation canvases.
        test: Number of test canvases.
        canvas: Side of a canvas in pixels.
        density: Most digits on one canvas; each has 1 to this many, uniformly.
        clutter: Scrambled fragments of digits on each canvas.
        bias: Half of the canvas to which digits of train and val are confined.
        test_bias: The same for test.
        seed: Seed of the drawing; another seed is another dataset.
    """

    source: ClassVar[str] = "Alpaydin and Kaynak 1998, UCI, as shipped with scikit-learn"
    references: ClassVar[str] = "alpaydin1998"
    default_model: ClassVar[str] = "tiny"

    train: Annotated[int, Field(ge=10)] = 1600
    val: Annotated[int, Field(ge=10)] = 400
    test: Annotated[int, Field(ge=10)] = 1000
    canvas: Annotated[int, Field(ge=16, le=512)] = 24
    density: Annotated[int, Field(ge=1, le=10)] = 3
    clutter: Annotated[int, Field(ge=0, le=100)] = 1
    bias: Bias = "none"
    test_bias: Bias = "none"
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Splits:
        """Draws the canvases."""
        pixels, targets = _handwritten()
        order = permutation(len(pixels), 0, "digits")
        cuts = [len(pixels) * 6 // 10, len(pixels) * 75 // 100]
        splits: list[Split] = []
        for rows, (name, count, bias) in zip(
            np.split(order, cuts),
            (
                ("train", self.train, self.bias),
                ("val", self.val, self.bias),
                ("test", self.test, self.test_bias),
            ),
            strict=True,
        ):
            rng = generator(self.seed, "digits", name)
            splits.append(self._draw(name, pixels[rows], targets[rows], count, bias, rng))
        # Expected number of distinct digits among 1..density uniform draws with replacement
        # (a little fewer where the canvas is too full for all).
        counts = np.arange(1, self.density + 1)
        distinct = float(np.mean(10 * (1 - 0.9**counts)))
        train, val, test = splits
        return Splits([str(i) for i in range(10)], train, val, test, round(distinct, 2))

    def _draw(
        self,
        name: str,
        pixels: NDArray[np.uint8],
        targets: NDArray[Any],
        count: int,
        bias: Bias,
        rng: np.random.Generator,
    ) -> Split:
        canvases = np.zeros((count, self.canvas, self.canvas), dtype=np.uint8)
        labels = np.zeros((count, 10), dtype=np.bool_)
        boxes: list[NDArray[np.float64]] = []
        objects: list[ImageObjects] = []
        for canvas, label in zip(canvases, labels, strict=True):
            for _ in range(self.clutter):
                blocks = pixels[rng.integers(len(pixels))].reshape(4, 2, 4, 2).swapaxes(1, 2)
                scrambled = rng.permutation(blocks.reshape(16, 2, 2)).reshape(4, 4, 2, 2)
                fragment = scrambled.swapaxes(1, 2).reshape(_SIDE, _SIDE)[:5]
                row, column = self._place(fragment.shape, "none", rng)
                _paste(canvas, fragment, row, column)
            taken: list[tuple[int, int]] = []
            classes: list[int] = []
            for _ in range(rng.integers(1, self.density + 1)):
                pick = rng.integers(len(pixels))
                for _ in range(_PLACES):
                    row, column = self._place((_SIDE, _SIDE), bias, rng)
                    if all(max(abs(row - r), abs(column - c)) >= _SIDE for r, c in taken):
                        taken.append((row, column))
                        _paste(canvas, pixels[pick], row, column)
                        label[targets[pick]] = True
                        classes.append(int(targets[pick]))
                        break
            corners = np.array([(r, c, r + _SIDE, c + _SIDE) for r, c in taken], dtype=np.float64)
            boxes.append(corners / self.canvas)
            areas = np.full(len(taken), float(_SIDE**2))
            there = np.array(classes, dtype=np.int64)
            objects.append(ImageObjects(there, corners, areas, (self.canvas, self.canvas)))
        ids = [f"{name}-{i}" for i in range(count)]
        found = ObjectList.from_images(objects)
        return Split(ArrayImages(canvases), labels, ids, boxes=boxes, objects=found)

    def _place(
        self, shape: tuple[int, ...], bias: Bias, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Row and column of a patch's corner, uniform within the half that the bias allows."""
        ranges = []
        for size, first, second in zip(shape, ("top", "left"), ("bottom", "right"), strict=True):
            low = self.canvas // 2 if bias == second else 0
            high = (self.canvas // 2 if bias == first else self.canvas) - size
            ranges.append(int(rng.integers(low, high + 1)))
        return ranges[0], ranges[1]


def _paste(canvas: NDArray[np.uint8], patch: NDArray[np.uint8], row: int, column: int) -> None:
    """Adds a patch; the brighter pixel wins."""
    region = canvas[row : row + patch.shape[0], column : column + patch.shape[1]]
    np.maximum(region, patch, out=region)


def _handwritten() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels, 0 to 255, and digits of scikit-learn, from its file: to import it takes seconds."""
    spec = find_spec("sklearn")
    (folder,) = (spec and spec.submodule_search_locations) or ("",)
    file = Path(folder, "datasets/data/digits.csv.gz")
    if file.is_file():
        table = np.loadtxt(file, np.int64, delimiter=",")
        sixteenths, digits = table[:, :-1], table[:, -1]
    else:  # a release that keeps it elsewhere
        from sklearn.datasets import load_digits

        sixteenths, digits = load_digits(return_X_y=True)
    pixels = np.rint(sixteenths.reshape(-1, _SIDE, _SIDE) * (255 / 16)).astype(np.uint8)
    return pixels, digits
