"""Splits from datasets of torch, or of anything that gives pairs of an image and its labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import Split, Splits
from labelattack.datasets.decoding import Pixels
from labelattack.datasets.division import hold_out
from labelattack.errors import DatasetError, shown
from labelattack.labels import Encoding, PartialLabels
from labelattack.labels.encoding import Decoder


class Pairs(Protocol):
    """A dataset with a length that gives an image and its labels for a number."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int) -> Any:
        """The image, and a row with the state of each label."""
        ...


def from_torch(
    train: Pairs,
    val: Pairs | None,
    test: Pairs,
    classes: Sequence[str],
    *,
    encoding: Encoding = "binary",
    holdout: float = 0.2,
    seed: int = 0,
    expected_positives: float | None = None,
) -> Splits:
    """Makes splits from datasets of torch.

    Each image is read once for its labels and its hash, and again whenever it is needed; so leave
    out random transforms, ``ToTensor`` and normalisation.

    Args:
        train: Pairs of an image (PIL, uint8 array ``[height, width(, 3)]``, or uint8 tensor ``[1 or
            3, height, width]``) and a row of numbers, one for each class.
        val: The same to choose recipe and epoch on; None to hold out a share of train.
        test: The same for the reported numbers.
        classes: Name of each class.
        encoding: Encoding of the numbers, see [Encoding][labelattack.labels.encoding.Encoding].
        holdout: Share of train that is held out.
        seed: Seed of that draw.
        expected_positives: Declared mean number of positives per image, for defenses that use it.

    Returns:
        The splits; an image is called by split and number, such as ``train-0``.

    Raises:
        DatasetError: If an image or a row of labels is of another kind, or an image differs when
            it is read again.
        LabelError: If a number is not of the encoding; names the first, and counts them.
    """
    given = {"train": train, "val": val, "test": test}
    parts = {name: pairs for name, pairs in given.items() if pairs is not None}
    splits = {name: _split(name, pairs, len(classes), encoding) for name, pairs in parts.items()}
    if val is None:
        splits["train"], splits["val"] = hold_out(splits["train"], holdout, seed, "torch-val")
    return Splits(list(classes), splits["train"], splits["val"], splits["test"], expected_positives)


def _split(name: str, pairs: Pairs, classes: int, encoding: Encoding) -> Split:
    if not callable(getattr(pairs, "__len__", None)) or not hasattr(pairs, "__getitem__"):
        raise DatasetError(
            f"{name} must be a dataset with a length and items, got a {type(pairs).__name__}"
        )
    count = len(pairs)
    numbers = np.zeros((count, classes))
    parts = hashlib.sha256()
    for index in range(count):
        image, target = _pair(name, pairs, index)
        pixels = _pixels(image, f"item {index} of {name}")
        if not index and not np.array_equal(pixels, _pixels(_pair(name, pairs, 0)[0], name)):
            raise DatasetError(
                f"item 0 of {name} must be the same whenever it is read, got two images; leave "
                "out random transforms"
            )
        parts.update(f"{pixels.shape}".encode())
        parts.update(np.ascontiguousarray(pixels).tobytes())
        numbers[index] = _row(target, classes, f"item {index} of {name}")
    decoder = Decoder(encoding)
    place: Callable[..., str] = lambda row, column: (  # noqa: E731
        f"{numbers[row, column]:g} at item {row} of {name}, class {column}"
    )
    labels = PartialLabels(*decoder.decode(numbers, place))
    decoder.check()
    ids = [f"{name}-{index}" for index in range(count)]
    return Split(_PairImages(pairs, name, parts.hexdigest()), labels, ids)


def _pair(name: str, pairs: Pairs, index: int) -> tuple[Any, Any]:
    try:
        image, target = pairs[index]
    except Exception as error:  # a user's code
        raise DatasetError(
            f"item {index} of {name} must be an image and its labels: "
            f"{type(error).__name__}: {error}"
        ) from error
    return image, target


def _pixels(image: Any, what: str) -> Pixels:
    """The image as uint8 ``[height, width, 3]``."""
    of_torch = hasattr(image, "detach")
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    array = np.asarray(image.detach().cpu().numpy() if of_torch else image)
    if of_torch and array.ndim == 3:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise DatasetError(
            f"{what} must have an image in uint8, grey or RGB, got {array.dtype} {array.shape}; "
            "leave out ToTensor and normalisation"
        )
    return array


def _row(target: Any, classes: int, what: str) -> NDArray[np.float64]:
    try:
        row = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
        row = row.astype(np.float64)
    except (TypeError, ValueError):
        row = np.zeros(0)
    if row.shape != (classes,):
        raise DatasetError(
            f"{what} must have a number for each of the {classes} classes, got {shown(target)}"
        )
    return row


class _PairImages:
    """Images of a dataset of pairs, with the hash of their pixels."""

    def __init__(self, pairs: Pairs, name: str, digest: str) -> None:
        self._pairs, self._name, self._digest = pairs, name, digest

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Pixels:
        image, _ = _pair(self._name, self._pairs, index)
        return _pixels(image, f"item {index} of {self._name}")

    def fingerprint(self) -> str:
        """Hash of all pixels when the labels were read."""
        return self._digest
