"""Storage of partial labels: as arrays, or as a list of the known entries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
T = TypeVar("T", bound=np.generic)
Which = BoolArray | Literal["positives"] | None
"""Which of the known entries are counted: those of a mask ``[known]``, the positives, or all."""
_CELLS = 1 << 24  # of a list of entries that are made dense at a time; a multiple of 8


class Dense:
    """Labels as arrays; without a mask, every entry is known."""

    def __init__(self, values: BoolArray, observed: BoolArray | None) -> None:
        self._values, self._observed = values, observed

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images and number of labels."""
        images, labels = self._values.shape
        return images, labels

    def dense(self, name: str) -> BoolArray:
        """The ``values`` or the ``observed`` ones, bool ``[images, labels]``."""
        if name == "values":
            return self._values
        if self._observed is None:
            self._observed = frozen(np.ones_like(self._values))
        return self._observed

    @property
    def _complete(self) -> bool:
        return self.known == self._values.size

    @property
    def known_values(self) -> BoolArray:
        """Values of the known entries, image by image, bool ``[known]``."""
        return self.at_known(self._values)

    @property
    def columns(self) -> NDArray[np.integer[Any]]:
        """Class of each known entry, image by image, int ``[known]``."""
        return self.at_known(np.broadcast_to(class_numbers(self.shape[1]), self.shape))

    def at_known(self, matrix: NDArray[T]) -> NDArray[T]:
        """Elements of ``[images, labels]`` at the known entries, image by image, ``[known]``."""
        return matrix.reshape(-1) if self._complete else matrix[self._observed]

    def keep(self, kept: BoolArray) -> Dense:
        """With those of the known entries hidden that are not kept."""
        observed = self._spread(kept)
        return Dense(frozen(self._values & observed), frozen(observed))

    def flip(self, flipped: BoolArray) -> Dense:
        """With the other value for those of the known entries that are flipped."""
        return Dense(frozen(self._values ^ self._spread(flipped)), self._observed)

    def positive_entries(self) -> tuple[IntArray, IntArray]:
        """Image and class of each known positive, image by image, int64 each."""
        # Twice as fast as nonzero of a matrix.
        rows, columns = np.divmod(np.flatnonzero(self._values), max(self.shape[1], 1))
        return rows, columns

    def take(self, rows: NDArray[np.int64] | slice) -> Dense:
        """Those of the given images, in that order."""
        observed = None if self._observed is None else frozen(self._observed[rows])
        return Dense(frozen(self._values[rows]), observed)

    @cached_property
    def known(self) -> int:
        """Number of known entries."""
        of = self._values.size if self._observed is None else np.count_nonzero(self._observed)
        return int(of)

    def per_image(self, which: Which) -> IntArray:
        """Known entries of each image, or of ``which`` of them, int64 ``[images]``."""
        return np.asarray(np.count_nonzero(self._chosen(which), axis=1), dtype=np.int64)

    def per_class(self, which: Which) -> IntArray:
        """Known entries of each class, or of ``which`` of them, int64 ``[labels]``."""
        return np.asarray(np.count_nonzero(self._chosen(which), axis=0), dtype=np.int64)

    def _chosen(self, which: Which) -> BoolArray:
        if isinstance(which, np.ndarray):
            return self._spread(which)
        if which is None and self._complete:
            return np.broadcast_to(np.True_, self.shape)
        return self._values if which == "positives" else self.dense("observed")

    def _spread(self, which: BoolArray) -> BoolArray:
        """A mask of the known entries as one of the matrix."""
        if self._complete:
            return frozen(which).reshape(self.shape)
        spread = np.zeros(self.shape, dtype=np.bool_)
        spread[self._observed] = which
        return spread

    def packed(self, name: str) -> Iterator[bytes]:
        """Bits of ``values`` or ``observed``, eight a byte, row by row, in pieces."""
        yield np.packbits(self.dense(name)).tobytes()


class Sparse:
    """Labels as a list of the known entries, image by image.

    Attributes:
        starts: Where the entries of each image begin, int64 ``[images + 1]``.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        starts: IntArray,
        columns: NDArray[np.integer[Any]],
        known_values: BoolArray,
    ) -> None:
        self.shape, self.starts = shape, starts
        self.columns, self.known_values = columns, known_values

    def dense(self, name: str) -> BoolArray:
        """The ``values`` or the ``observed`` ones, bool ``[images, labels]``."""
        made = np.zeros(self.shape, dtype=np.bool_)
        made[self._rows, self.columns] = self.known_values if name == "values" else True
        return frozen(made)

    def at_known(self, matrix: NDArray[T]) -> NDArray[T]:
        """Elements of ``[images, labels]`` at the known entries, image by image, ``[known]``."""
        return np.asarray(matrix[self._rows, self.columns])

    @property
    def _rows(self) -> IntArray:
        return np.asarray(np.repeat(np.arange(self.shape[0]), self.per_image(None)))

    def keep(self, kept: BoolArray) -> Sparse:
        """With those of the known entries hidden that are not kept."""
        starts = np.zeros_like(self.starts)
        np.cumsum(self.per_image(kept), out=starts[1:])
        return Sparse(
            self.shape, starts, frozen(self.columns[kept]), frozen(self.known_values[kept])
        )

    def flip(self, flipped: BoolArray) -> Sparse:
        """With the other value for those of the known entries that are flipped."""
        return Sparse(self.shape, self.starts, self.columns, frozen(self.known_values ^ flipped))

    def positive_entries(self) -> tuple[IntArray, IntArray]:
        """Image and class of each known positive, image by image, int64 each."""
        there = self.known_values
        return self._rows[there], self.columns[there].astype(np.int64)

    def take(self, rows: NDArray[np.int64] | slice) -> Sparse:
        """Those of the given images, in that order."""
        chosen = np.arange(self.shape[0])[rows]
        counts = self.per_image(None)[chosen]
        starts = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(counts, out=starts[1:])
        # Positions of the entries of the chosen images, one after the other.
        places = np.arange(starts[-1]) + np.repeat(self.starts[chosen] - starts[:-1], counts)
        return Sparse(
            (len(chosen), self.shape[1]),
            starts,
            frozen(self.columns[places]),
            frozen(self.known_values[places]),
        )

    @property
    def known(self) -> int:
        """Number of known entries."""
        return len(self.known_values)

    def per_image(self, which: Which) -> IntArray:
        """Known entries of each image, or of ``which`` of them, int64 ``[images]``."""
        if which is None:
            return np.diff(self.starts)
        if isinstance(which, str):
            which = self.known_values
        before = np.zeros(len(which) + 1, dtype=np.int64)
        np.cumsum(which, out=before[1:])
        return np.asarray(np.diff(before[self.starts]))

    def per_class(self, which: Which) -> IntArray:
        """Known entries of each class, or of ``which`` of them, int64 ``[labels]``."""
        if isinstance(which, str):
            which = self.known_values
        columns = self.columns if which is None else self.columns[which]
        return np.bincount(columns, minlength=self.shape[1]).astype(np.int64)

    def packed(self, name: str) -> Iterator[bytes]:
        """Bits of ``values`` or ``observed``, eight a byte, row by row, in pieces."""
        # A block of rows ends at a whole byte.
        rows = max(_CELLS // max(self.shape[1], 1) // 8 * 8, 8)
        for first in range(0, self.shape[0], rows):
            yield np.packbits(self.take(slice(first, first + rows)).dense(name)).tobytes()


def image_rows(images: Any, count: int) -> IntArray:
    """Rows of the images that an index selects, int64.

    Args:
        images: A slice, a list or array of positions, from the end where they are negative, or a
            mask, bool ``[count]``.
        count: Number of images.

    Raises:
        LabelError: If it is anything else, or a position is that of no image.
    """
    if isinstance(images, slice):
        return np.arange(count)[images]
    chosen = np.asarray(images) if not isinstance(images, tuple) else np.zeros((0, 0))
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "biu"):
        raise LabelError(
            "images must be a slice, positions or a mask, got "
            f"{shown(images)}; labels[3:4] has one image, take_classes chooses classes"
        )
    if chosen.dtype.kind == "b":
        if len(chosen) != count:
            raise LabelError(f"a mask of images must be {count} long, got {len(chosen)}")
        return np.flatnonzero(chosen)
    wrong = chosen[(chosen < -count) | (chosen >= count)]
    if len(wrong):
        raise LabelError(f"positions of images must be in {-count}..{count - 1}, got {wrong[0]}")
    return np.arange(count)[chosen.astype(np.int64)]


def class_numbers(labels: int) -> NDArray[np.integer[Any]]:
    """Number of each class, in the narrowest type that holds them, int ``[labels]``."""
    return np.arange(labels, dtype=np.min_scalar_type(max(labels - 1, 0)))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array, which cannot be written any more."""
    array.setflags(write=False)
    return array
