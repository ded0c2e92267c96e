"""Images and labels of people who train elsewhere, as a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages, Images
from labelattack.errors import DatasetError, shown
from labelattack.labels import Encoding, PartialLabels
from labelattack.labels.containers.read import contained
from labelattack.training.inputs import Rows

_BATCH = 64


class NetworkImages:
    """Images as a network takes them, float32 ``[images, channels, height, width]``, not pixels."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    def fingerprint(self) -> str:
        """Hash of every value."""
        return hashlib.sha256(np.ascontiguousarray(self.values).tobytes()).hexdigest()


class NetworkInputs:
    """Batches of [NetworkImages][labelattack.api.own_data.NetworkImages], or of some of them."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images, self._device = images, device

    def __len__(self) -> int:
        return len(self._images)

    def stream(self, batches: Sequence[Rows], *, seed: int | None = None) -> Iterator[Tensor]:
        """Yields float32 ``[batch, channels, height, width]``; nothing is augmented."""
        del seed
        for rows in batches:
            values = np.stack([self._images[int(row)] for row in rows])
            yield torch.from_numpy(values).to(self._device)


def split_of(data: Any, encoding: Encoding, name: str) -> Split:
    """A split of what people have.

    Args:
        data: A split; images and labels, see
            [evaluate][labelattack.api.evaluation.evaluate]; or what yields batches of both.
        encoding: Encoding of labels that are numbers.
        name: Name of the argument, for messages and for the names of images.

    Raises:
        DatasetError: If it is none of these, or an image is of another kind.
        LabelError: If a label is not of the encoding.
    """
    if isinstance(data, Split):
        return data
    if isinstance(data, Dataset) and not isinstance(data, Iterator):
        data = DataLoader(data, batch_size=_BATCH)
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = data
    elif isinstance(data, Iterable) and not isinstance(data, tuple | list | Tensor | np.ndarray):
        images, labels = _collected(data, name)
    else:
        raise DatasetError(
            f"{name} must be a Split, a pair of images and labels, or a loader of such pairs, got "
            f"a {type(data).__name__}"
        )
    if isinstance(labels, list | tuple):
        labels = _array(labels, f"labels of {name}")
    known = labels if isinstance(labels, PartialLabels) else contained(labels, encoding).labels
    found = _images(
        _array(images, f"images of {name}"), of_torch=isinstance(images, Tensor), name=name
    )
    return Split(found, known, [f"{name}-{row}" for row in range(len(found))])


def _collected(loader: Iterable[Any], name: str) -> tuple[Tensor, Tensor]:
    """All images and labels that a loader yields."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DatasetError(
                f"{name} must yield pairs of images and labels, got {shown(type(batch).__name__)}"
            )
        some, of_these = (torch.as_tensor(part) for part in batch)
        if len(some) != len(of_these) or some.shape[1:] != (images or [some])[0].shape[1:]:
            raise DatasetError(
                f"{name} must yield images of one size, with a row of labels for each, got images "
                f"{list(some.shape)} and labels {list(of_these.shape)}"
            )
        images.append(some)
        labels.append(of_these)
    if not images:
        raise DatasetError(f"{name} must yield at least one batch, got none")
    return torch.cat(images), torch.cat(labels)


def _array(values: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except ValueError as error:
        raise DatasetError(f"{what} must be an array, with rows of one length: {error}") from error


def _images(values: NDArray[Any], *, of_torch: bool, name: str) -> Images:
    if values.dtype == np.uint8:
        return ArrayImages(np.moveaxis(values, 1, 3) if of_torch and values.ndim == 4 else values)
    if values.dtype.kind != "f" or values.ndim != 4:
        raise DatasetError(
            f"images of {name} must be float [images, channels, height, width] as the network "
            f"takes them, or pixels in uint8, got {values.dtype} {values.shape}"
        )
    return NetworkImages(values.astype(np.float32, copy=False))
