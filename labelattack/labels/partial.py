"""Partial labels: a matrix of labels of which some are hidden, dense or as a list of entries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels.conversion import to_frame, to_tensor
from labelattack.labels.encoding import Encoding
from labelattack.labels.picture import picture
from labelattack.labels.storage import BoolArray as BoolArray
from labelattack.labels.storage import (
    Dense,
    IntArray,
    Sparse,
    T,
    Which,
    class_numbers,
    frozen,
    image_rows,
)

if TYPE_CHECKING:
    import torch


class PartialLabels:
    """Partial labels: an immutable matrix of labels, some of them hidden.

    Two arrays hold them where they come as arrays, the known entries alone where they come as
    entries ([from_entries][labelattack.labels.partial.PartialLabels.from_entries]) and are few:
    9,000,000 images by 600 labels take 160 MiB instead of 10 GiB. Results are the same.

    Args:
        values: bool ``[images, labels]``; what it says of a hidden entry is dropped.
        observed: bool ``[images, labels]``; False where the label is hidden.

    Attributes:
        ids: Name of each image, or None; names are no part of equality and of the hash.
        classes: Name of each class, or None.

    Raises:
        LabelError: If the arrays are not two-dimensional booleans of one shape.
    """

    __hash__ = None  # type: ignore[assignment]
    __iter__ = None  # images are no items of which a list could be made
    ids: Sequence[str] | None = None
    classes: Sequence[str] | None = None

    def __init__(self, values: BoolArray, observed: BoolArray) -> None:
        for name, array in (("values", values), ("observed", observed)):
            check_matrix(name, array)
        if values.shape != observed.shape:
            raise LabelError(
                f"values and observed must have one shape, got {values.shape} and {observed.shape}"
            )
        self._entries: Dense | Sparse = Dense(frozen(values & observed), frozen(observed.copy()))

    @classmethod
    def _of(cls, entries: Dense | Sparse) -> PartialLabels:
        made = cls.__new__(cls)
        made._entries = entries
        return made

    @classmethod
    def full(cls, labels: BoolArray, *, copy: bool = True) -> PartialLabels:
        """Complete labels, with nothing hidden.

        Args:
            labels: bool ``[images, labels]``.
            copy: Whether to copy them; otherwise they must stay as they are.
        """
        check_matrix("labels", labels)
        return cls._of(Dense(frozen(labels.copy() if copy else labels.view()), None))

    @classmethod
    def from_entries(
        cls, shape: tuple[int, int], rows: NDArray[Any], columns: NDArray[Any], positive: BoolArray
    ) -> PartialLabels:
        """Labels of which the known entries are listed, in any order.

        Args:
            shape: Number of images and number of labels.
            rows: Image of each known entry, int ``[known]``.
            columns: Class of each known entry, int ``[known]``.
            positive: Value of each known entry, bool ``[known]``.

        Raises:
            LabelError: If an entry is listed twice, or lies outside the shape.
        """
        images, labels = shape
        for name, array, end in (("row", rows, images), ("column", columns, labels)):
            if len(array) and not (array.min() >= 0 and array.max() < end):
                bad = array[(array < 0) | (array >= end)][0]
                raise LabelError(f"{name}s of entries must be in 0..{end - 1}, got {bad}")
        places = rows.astype(np.int64) * labels + columns
        if (places[1:] <= places[:-1]).any():
            order = np.argsort(places, kind="stable")
            places, columns, positive = places[order], columns[order], positive[order]
            twice = np.flatnonzero(places[1:] == places[:-1])
            if len(twice):
                row, column = divmod(int(places[twice[0]]), labels)
                raise LabelError(
                    f"an entry must be listed once, got row {row}, column {column} twice "
                    f"({len(twice)} such)"
                )
            rows = places // labels
        starts = np.zeros(images + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=images), out=starts[1:])
        narrow = columns.astype(class_numbers(labels).dtype)
        sparse = Sparse(shape, starts, frozen(narrow), frozen(positive.astype(np.bool_)))
        # Where most entries are known, a list of them takes more than the matrix.
        takes = starts.nbytes + sparse.columns.nbytes + sparse.known_values.nbytes
        if takes < 2 * images * labels:
            return cls._of(sparse)
        return cls._of(Dense(frozen(sparse.dense("values")), frozen(sparse.dense("observed"))))

    def named(
        self, ids: Sequence[str] | None, classes: Sequence[str] | None = None
    ) -> PartialLabels:
        """The same labels with names of their images and classes, as far as there are any."""
        made = PartialLabels._of(self._entries)
        made.ids, made.classes = ids, classes
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images and number of labels."""
        return self._entries.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, images: slice | Sequence[int] | NDArray[Any]) -> PartialLabels:
        """Labels of some images, with their names and those of the classes.

        Args:
            images: A slice, positions, or a mask, bool ``[images]``.

        Raises:
            LabelError: If it is anything else, such as one position, or outside the labels.
        """
        rows = image_rows(images, len(self))
        ids = None if self.ids is None else [self.ids[row] for row in rows.tolist()]
        return self.take(rows).named(ids, self.classes)

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise LabelError(
            "partial labels are no array, as they have three states; encode(labels, 'missing') of "
            "labelattack.labels makes one"
        )

    @property
    def values(self) -> BoolArray:
        """Observed positives, bool ``[images, labels]``; False wherever hidden."""
        return self._entries.dense("values")

    @property
    def observed(self) -> BoolArray:
        """Entries that are known, bool ``[images, labels]``."""
        return self._entries.dense("observed")

    @property
    def positives(self) -> BoolArray:
        """Observed positives, bool ``[images, labels]``."""
        return self.values

    @property
    def negatives(self) -> BoolArray:
        """Observed negatives, bool ``[images, labels]``."""
        return self.observed & ~self.values

    @property
    def hidden(self) -> BoolArray:
        """Entries whose label is not known, bool ``[images, labels]``."""
        return ~self.observed

    @property
    def is_complete(self) -> bool:
        """Whether every entry is known."""
        return self.known == self.shape[0] * self.shape[1]

    @property
    def known(self) -> int:
        """Number of known entries."""
        return self._entries.known

    @property
    def known_positives(self) -> int:
        """Number of known positives."""
        return int(self.per_class("positives").sum())

    @property
    def known_values(self) -> BoolArray:
        """Values of the known entries, image by image, bool ``[known]``."""
        return self._entries.known_values

    @property
    def known_columns(self) -> NDArray[np.integer[Any]]:
        """Class of each known entry, image by image, int ``[known]``."""
        return self._entries.columns

    def keep(self, kept: BoolArray) -> PartialLabels:
        """These labels with some of the known entries hidden.

        Args:
            kept: Which of the known entries stay known, image by image, bool ``[known]``; it cannot
                be written any more.
        """
        return PartialLabels._of(self._entries.keep(kept)).named(self.ids, self.classes)

    def flip(self, flipped: BoolArray) -> PartialLabels:
        """These labels with the other value for some of the known entries.

        Args:
            flipped: Which of the known entries change, image by image, bool ``[known]``.
        """
        return PartialLabels._of(self._entries.flip(flipped)).named(self.ids, self.classes)

    def positive_entries(self) -> tuple[IntArray, IntArray]:
        """Image and class of each known positive, image by image, int64 ``[positives]`` each."""
        return self._entries.positive_entries()

    def take(self, rows: NDArray[np.int64] | slice) -> PartialLabels:
        """Labels of the given images, in that order, without names."""
        return PartialLabels._of(self._entries.take(rows))

    def take_classes(self, columns: Sequence[int] | IntArray) -> PartialLabels:
        """Labels of the given classes, in that order, without names."""
        return PartialLabels(self.values[:, columns], self.observed[:, columns])

    def at_known(self, matrix: NDArray[T]) -> NDArray[T]:
        """Elements of a matrix at the known entries, image by image.

        Args:
            matrix: ``[images, labels]``.

        Returns:
            ``[known]``, of the same dtype.
        """
        return self._entries.at_known(matrix)

    def per_image(self, which: Which = None) -> IntArray:
        """Number of known entries of each image, int64 ``[images]``.

        Args:
            which: Count only these of the known entries, bool ``[known]``, or only positives.
        """
        return self._entries.per_image(which)

    def per_class(self, which: Which = None) -> IntArray:
        """Number of known entries of each class, int64 ``[labels]``.

        Args:
            which: Count only these of the known entries, bool ``[known]``, or only positives.
        """
        return self._entries.per_class(which)

    def to_torch(
        self, encoding: Encoding = "missing", dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """The labels as a tensor ``[images, labels]``.

        Args:
            encoding: Codes of the three states.
            dtype: Type of the tensor; None for int8, or float32 for ``nan``.

        Raises:
            LabelError: If the type has no number for a code, or something is hidden and the
                encoding is ``binary``.
        """
        return to_tensor(self, encoding, dtype)

    def to_frame(self, encoding: Encoding = "missing") -> Any:
        """The labels as a pandas data frame; ``ids`` are its index, ``classes`` its columns.

        Args:
            encoding: Codes of the three states.

        Raises:
            LabelAttackError: If pandas is not installed.
            LabelError: If something is hidden and the encoding is ``binary``.
        """
        return to_frame(self, encoding)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartialLabels):
            return NotImplemented
        return self.shape == other.shape and all(
            np.array_equal(mine, others)
            for mine, others in (
                (self.known_values, other.known_values),
                (self.per_image(), other.per_image()),
                (self.known_columns, other.known_columns),
            )
        )

    def digest(self) -> str:
        """Hash of shape, values and mask: 16 hex digits, equal for equal labels only."""
        parts = hashlib.sha256(str(self.shape).encode())
        for name in ("values", "observed"):
            for part in self.packed(name):
                parts.update(part)
        return parts.hexdigest()[:16]

    def packed(self, name: Literal["values", "observed"]) -> Iterator[bytes]:
        """The bits of one of the arrays, eight a byte, row by row, in pieces."""
        return self._entries.packed(name)

    def __repr__(self) -> str:
        images, labels = self.shape
        known, positive = self.known, self.known_positives
        return (
            f"PartialLabels({images} images x {labels} labels: {positive} positive, "
            f"{known - positive} negative, {images * labels - known} hidden)"
        )

    def _repr_html_(self) -> str:
        """A picture of the matrix, as a notebook shows it."""
        return picture(self)


def check_matrix(name: str, array: Any) -> None:
    """Raises LabelError unless ``array`` is a bool matrix."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.bool_:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise LabelError(f"{name} must be a bool array [images, labels], got {got}")
