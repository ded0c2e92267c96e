"""Network inputs by batch, whether they are images or cached features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelattack.datasets.images import Images, in_parallel
from labelattack.errors import DatasetError
from labelattack.models.base import Preprocessing
from labelattack.seeding import generator
from labelattack.training.hardware import decoding_threads, free_memory, to_device

Rows = NDArray[np.int64]
Map = Callable[..., Iterable[Any]]
"""A function such as ``map``, which gives results in the order of what it is given."""
_MEMORY_BUDGET = 1 << 30  # bytes
_MAIN_MEMORY = "cpu", "mps"
_SHARE = 16  # so that several splits of several processes leave room for training


class Inputs(Protocol):
    """Inputs of a network, read batch by batch."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def stream(self, batches: Sequence[Rows], *, seed: int | None = None) -> Iterator[Tensor]:
        """Yields the input of each batch.

        Args:
            batches: Rows of each batch.
            seed: Seed of the augmentation; None for none, as in evaluation.
        """
        ...


class FeatureInputs:
    """Features, float32 ``[images, ...]``; on the CPU they are not copied.

    Args:
        features: Pooled, or maps.
        device: Where batches are wanted.
        resident: Whether all of them are held there; else they stay where they are, such as in a
            mapped file, and batches are copied.
    """

    def __init__(
        self, features: NDArray[np.float32], device: torch.device, *, resident: bool = True
    ) -> None:
        self.device = device
        self.features = torch.from_numpy(features)
        if resident:
            self.features = self.features.to(device)

    def __len__(self) -> int:
        return len(self.features)

    def stream(self, batches: Sequence[Rows], *, seed: int | None = None) -> Iterator[Tensor]:
        """Yields rows of the features, neighbours uncopied; there is nothing to augment."""
        del seed
        for rows in batches:
            if len(rows) and (np.diff(rows) == 1).all():
                yield self._there(self.features[rows[0] : rows[0] + len(rows)])
            else:
                index = to_device(torch.from_numpy(rows), self.features.device)
                yield self._there(self.features[index])

    def _there(self, features: Tensor) -> Tensor:
        """Features on the device where batches are wanted."""
        away = features.device != self.device and features.device.type == "cpu"
        return to_device(features, self.device) if away else features


class SomeInputs:
    """Some of other inputs, in an order of their own.

    Args:
        inputs: The others.
        rows: Positions among them, int64 ``[images]``.
    """

    def __init__(self, inputs: Inputs, rows: Rows) -> None:
        self.inputs, self.rows = inputs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def stream(self, batches: Sequence[Rows], *, seed: int | None = None) -> Iterator[Tensor]:
        """Yields the input of each batch; an image is augmented as it is among the others."""
        yield from self.inputs.stream([self.rows[batch] for batch in batches], seed=seed)


class ImageInputs:
    """Images, decoded and squashed ahead of need and normalised by batch.

    A split whose pixels fit the device's share (1 GiB on the CPU, a sixteenth of what is free on a
    GPU) is decoded once and kept there; of a larger one, three batches are in memory at a time,
    however many images it has. Batches come in order, however many threads decode.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, device: torch.device) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self.device = device
        self._fits: bool | None = None
        self._kept: Tensor | None = None
        self._decoded = np.zeros(len(images), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.images)

    def stream(self, batches: Sequence[Rows], *, seed: int | None = None) -> Iterator[Tensor]:
        """Yields float32 ``[batch, 3, size, size]``, mirrored at random where declared."""
        # A coin for each image, so that it matters not which process or batch an image is in.
        coins = None
        if seed is not None and self.preprocessing.flip:
            coins = _coins(generator(seed, "flip"), len(self))
        mean, std = (
            torch.tensor(v, device=self.device) * 255
            for v in (self.preprocessing.mean, self.preprocessing.std)
        )
        for rows, pixels in zip(batches, self._ahead(batches), strict=True):
            if coins is not None:
                mirrored = to_device(torch.from_numpy(coins[rows]), self.device)
                pixels = torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
            yield _normalised(pixels, mean, std)

    def _ahead(self, batches: Sequence[Rows]) -> Iterator[Tensor]:
        if self._decoded.all():  # nothing to wait for
            yield from map(self._load, batches)
            return
        threads = decoding_threads(self.device) if in_parallel(self.images) else 1
        with ExitStack() as pools:
            each: Map = map
            if threads > 1:
                each = pools.enter_context(ThreadPoolExecutor(threads)).map
            ahead = pools.enter_context(ThreadPoolExecutor(1))
            waiting = [ahead.submit(self._load, rows, each) for rows in batches[:2]]
            for number in range(len(batches)):
                loaded = waiting.pop(0).result()
                if number + 2 < len(batches):
                    waiting.append(ahead.submit(self._load, batches[number + 2], each))
                yield loaded

    def _image(self, row: int) -> NDArray[np.uint8]:
        return squash(self.images[int(row)], self.preprocessing.size)

    def _load(self, rows: Rows, each: Map = map) -> Tensor:
        """Pixels of a batch, uint8 ``[batch, height, width, 3]`` on the device."""
        fresh = rows[~self._decoded[rows]]
        images = list(each(self._image, fresh))
        shapes = {image.shape for image in images}
        if self._kept is not None:
            shapes.add(tuple(self._kept.shape[1:]))
        if len(shapes) > 1:
            raise DatasetError(
                "images must have one size for a model that does not resize, got "
                f"{sorted(shape[:2] for shape in shapes)}"
            )
        # All or none: the part of a large split that fits would save little and cost as much.
        if self._fits is None:
            self._fits = images[0].nbytes * len(self) <= _budget(self.device)
        if self._fits and self._kept is None:
            shape = len(self), *images[0].shape
            self._kept = torch.empty(shape, dtype=torch.uint8, device=self.device)
        if self._kept is None:
            return self._there(np.stack(images))
        if len(fresh):
            self._kept[self._there(fresh)] = self._there(np.stack(images))
            self._decoded[fresh] = True
        return self._kept.index_select(0, self._there(rows))

    def _there(self, array: NDArray[Any]) -> Tensor:
        return to_device(torch.from_numpy(array), self.device)


def _budget(device: torch.device) -> int:
    """Bytes of decoded images that are kept; larger splits are read anew in every epoch."""
    return _MEMORY_BUDGET if device.type in _MAIN_MEMORY else free_memory(device) // _SHARE


def squash(image: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Resizes uint8 ``[height, width, 3]`` to ``[size, size, 3]``, ignoring the aspect ratio."""
    if size is None or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 ``[batch, height, width, 3]`` to float32 ``[batch, 3, height, width]``.

    Channels stay innermost in memory, the layout in which convolutions are fastest on CPUs and on
    GPUs; but what runs over whole rows takes a sixth of what it would over three numbers at a time.
    """
    width = pixels.shape[2]
    rows = pixels.flatten(2).float().sub_(mean.repeat(width)).div_(std.repeat(width))
    return rows.view(pixels.shape).permute(0, 3, 1, 2)


def split_batches(rows: Rows, size: int, *, least: int = 1) -> list[Rows]:
    """Cuts rows into batches; none is dropped.

    Args:
        rows: int64 ``[rows]``.
        size: Rows of each batch but the last, which may have fewer.
        least: A last batch of fewer rows than these joins the one before, if batches are larger.
    """
    ends = range(size, max(len(rows) - (least if size >= least else 1), 0) + 1, size)
    return np.split(rows, ends) if len(rows) else []


def _coins(rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
    raw: Any = rng.bit_generator.random_raw(count)
    heads: NDArray[np.bool_] = np.asarray(raw, dtype=np.uint64) >> np.uint64(63) == 1
    return heads
