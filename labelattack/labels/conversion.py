"""Labels as arrays, tensors, data frames and sparse matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels.encoding import Encoding, check_encoding, encode
from labelattack.labels.storage import IntArray
from labelattack.optional import require

if TYPE_CHECKING:
    import torch

    from labelattack.labels.partial import PartialLabels

_HELD: dict[Encoding, str] = {"binary": "buif", "signed": "if", "missing": "if", "nan": "f"}


def holds(kind: str, encoding: Encoding) -> bool:
    """Whether numbers can be the codes of an encoding.

    Args:
        kind: NumPy's letter for the kind of number: ``b``, ``u``, ``i`` or ``f``.
        encoding: The encoding.

    Raises:
        UnknownNameError: If the encoding is unknown.
    """
    check_encoding(encoding)
    return kind in _HELD[encoding]


def to_array(labels: PartialLabels, encoding: Encoding, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Labels as an array ``[images, labels]``.

    Args:
        labels: The labels.
        encoding: Codes of the three states.
        dtype: Type of the array if it holds the codes; else it is that of
            [encode][labelattack.labels.encoding.encode].

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    numbers = encode(labels, encoding)
    return numbers.astype(dtype, copy=False) if holds(dtype.kind, encoding) else numbers


def to_tensor(
    labels: PartialLabels, encoding: Encoding, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Labels as a tensor ``[images, labels]`` in main memory.

    Args:
        labels: The labels.
        encoding: Codes of the three states.
        dtype: Type of the tensor; None for int8, or float32 for ``nan``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``, or numbers of the type
            cannot be the codes.
    """
    import torch

    if dtype is not None and not holds(kind_of(dtype), encoding):
        raise LabelError(
            f"dtype must hold the codes of encoding '{encoding}', got {dtype}; "
            f"{'a floating' if encoding == 'nan' else 'a signed'} one does"
        )
    return torch.from_numpy(encode(labels, encoding)).to(dtype)


def kind_of(dtype: torch.dtype) -> str:
    """NumPy's letter for the kind of number that a type of torch is; ``c`` if it has two parts."""
    import torch

    if dtype == torch.bool:
        return "b"
    if dtype.is_complex:
        return "c"
    return "f" if dtype.is_floating_point else "i" if dtype.is_signed else "u"


def to_frame(labels: PartialLabels, encoding: Encoding) -> Any:
    """Labels as a pandas data frame, a row an image and a column a class, named as they are.

    Args:
        labels: The labels.
        encoding: Codes of the three states.

    Raises:
        LabelAttackError: If pandas is not installed.
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    pandas = require("pandas", "dataframe")
    numbers = encode(labels, encoding)
    return pandas.DataFrame(numbers, index=labels.ids, columns=labels.classes)


def nonzero_codes(
    labels: PartialLabels, encoding: Encoding
) -> tuple[IntArray, IntArray, NDArray[Any]]:
    """Entries whose code is not 0, image by image.

    In ``signed`` these are the known ones, and few labels that are known take little memory.

    Args:
        labels: The labels.
        encoding: Codes of the three states.

    Returns:
        Where the entries of each image begin, int64 ``[images + 1]``; class and code of each entry,
        int64 and as of ``encode``, ``[entries]``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    if encoding == "signed":
        counts, columns = labels.per_image(), labels.known_columns.astype(np.int64)
        codes: NDArray[Any] = np.where(labels.known_values, 1, -1).astype(np.int8)
    else:
        numbers = encode(labels, encoding)
        there = numbers != 0
        counts, columns = there.sum(axis=1), np.nonzero(there)[1]
        codes = numbers[there]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), columns, codes
