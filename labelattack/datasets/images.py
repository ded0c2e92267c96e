"""Sequences of images, in memory or decoded from files on demand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.decoding import DECODING, Pixels, decoded
from labelattack.errors import DatasetError
from labelattack.files.content import content_digests
from labelattack.files.storage import is_file

# Roots, drives and parent folders, with either separator: lists come from Windows too, which also
# drops dots and spaces at the end of a part. No file system allows empty names or zero bytes.
_LEAVES = re.compile(r"^$|^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.[. ]*(?:[/\\]|$)|\0")


def inside(folder: Path, names: Iterable[str]) -> None:
    """Checks that no name read from a file leads out of a folder.

    Raises:
        DatasetError: If a name is empty, absolute, or has a ``..`` in it.
    """
    # The pattern is slow for 250,000 names, most of which are plainly fine.
    doubtful = (n for n in names if ".." in n or "\0" in n or n[:1] in "/\\" or n[1:2] == ":")
    leaving = next(filter(_LEAVES.search, doubtful), None)
    if leaving is not None:
        raise DatasetError(f"names must stay inside '{folder}', got '{leaving}'")


def in_parallel(images: Images) -> bool:
    """Whether several threads may read images at once: files, not what plug-ins hold open."""
    return isinstance(images, FileImages)


class Images(Protocol):
    """A sequence of images, however they are stored or decoded."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int) -> Pixels:
        """One image, uint8 ``[height, width, 3]``, RGB."""
        ...

    def fingerprint(self) -> str:
        """Hash that changes when the images do."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images held in memory: uint8 ``[images, height, width]`` (grey) or ``[..., 3]`` (RGB)."""

    pixels: Pixels

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        grey, colour = len(shape) == 3, len(shape) == 4 and shape[3] == 3
        if self.pixels.dtype != np.uint8 or not (grey or colour):
            raise DatasetError(
                "images must be uint8 [images, height, width] or [images, height, width, 3], got "
                f"{self.pixels.dtype} {shape}"
            )
        if 0 in shape[1:]:
            raise DatasetError(f"images must have at least one pixel, got {shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Pixels:
        image = self.pixels[index]
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image

    def fingerprint(self) -> str:
        """Hash of every pixel."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images decoded from files on access; only their names are in memory.

    Names come from label files and lists, so none may lead out of the folder. Links in the folder
    are followed.

    Attributes:
        folder: Folder of the image files.
        names: Path of each image, relative to the folder.

    Raises:
        DatasetError: If a name is empty, absolute, or has a ``..`` in it.
    """

    folder: Path
    names: Sequence[str]

    def __post_init__(self) -> None:
        inside(self.folder, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pixels:
        return decoded(self.folder / self.names[index])

    def there(self, index: int) -> bool:
        """Whether the file of one image exists."""
        return is_file(self.folder / self.names[index])

    def take(self, rows: NDArray[np.int64]) -> FileImages:
        """Images of the given rows, in that order."""
        return FileImages(self.folder, [self.names[row] for row in rows])

    def fingerprint(self, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
        """Hash of names and contents; only files without a cached hash are read."""
        try:
            digests = content_digests(self.folder, self.names, progress)
        except OSError as error:
            raise DatasetError(f"image '{error.filename}' cannot be read: {error}") from error
        parts = hashlib.sha256(f"decoding {DECODING}".encode())
        for name, digest in zip(self.names, digests, strict=True):
            parts.update(f"\n{(self.folder / name).name} {digest}".encode())
        return parts.hexdigest()


@dataclass(frozen=True, eq=False)
class SomeImages:
    """A subset of other images, in its own order.

    Attributes:
        images: The underlying images.
        rows: Positions in them, int ``[images]``.
    """

    images: Images
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pixels:
        return self.images[int(self.rows[index])]

    def fingerprint(self) -> str:
        """Hash of the underlying images and of the subset."""
        parts = hashlib.sha256(self.images.fingerprint().encode())
        parts.update(np.asarray(self.rows, dtype=np.int64).tobytes())
        return parts.hexdigest()
