"""Labels in NumPy arrays and torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown
from labelattack.labels.containers.base import Contained, entries_of, in_python, room_of
from labelattack.labels.conversion import holds, kind_of, to_array, to_tensor
from labelattack.labels.encoding import Encoding, check_encoding
from labelattack.labels.partial import PartialLabels

if TYPE_CHECKING:
    import torch

_CHOICES = (
    "which has no value for a hidden label: 'missing' (1, 0, -1) and 'signed' (1, -1, 0) give "
    "int8, 'nan' (1, 0, NaN) float32"
)


def decode(array: NDArray[Any], encoding: Encoding) -> PartialLabels:
    """Decodes an array of labels; the encoding is never guessed.

    Args:
        array: Numbers ``[images, labels]``.
        encoding: Encoding of its values, see [Encoding][labelattack.labels.encoding.Encoding].

    Returns:
        The labels.

    Raises:
        LabelError: If the array is not a matrix or holds a value that the encoding does not know;
            the first such entry is named.
    """
    check_encoding(encoding)
    return decoded(_checked(array), encoding)


def from_array(y: NDArray[Any], encoding: Encoding | None) -> Contained:
    """Labels in an array ``[images, labels]`` of numbers or bool.

    Args:
        y: The array.
        encoding: Encoding of its numbers; None for 1 and 0, with NaN for unknown.

    Raises:
        LabelError: If it is no matrix of numbers, or the encoding does not know one of them.
    """
    dtype, labels = y.dtype, decoded(_checked(y), encoding)
    return Contained(
        labels,
        f"an array of {dtype}",
        room_of(dtype.kind, encoding),
        lambda left, codes: to_array(left, codes, dtype),
        _CHOICES,
    )


def from_tensor(y: torch.Tensor, encoding: Encoding | None) -> Contained:
    """Labels in a dense tensor ``[images, labels]`` of numbers or bool, on any device.

    Args:
        y: The tensor.
        encoding: Encoding of its numbers; None for 1 and 0, with NaN for unknown.

    Raises:
        LabelError: If it is no matrix of numbers, or the encoding does not know one of them.
    """
    import torch

    dtype, device, kind = y.dtype, y.device, kind_of(y.dtype)
    if y.layout != torch.strided or y.is_quantized:
        raise LabelError(f"labels must be a dense tensor of numbers, got {y.layout}, {dtype}")
    here = y.detach().cpu().resolve_neg()
    # NumPy lacks some types of torch, and double has every number of all of them.
    labels = decoded(_checked((here.double() if kind == "f" else here).numpy()), encoding)

    def write(left: PartialLabels, codes: Encoding) -> Any:
        return to_tensor(left, codes, dtype if holds(kind, codes) else None).to(device)

    return Contained(labels, f"a tensor of {dtype}", room_of(kind, encoding), write, _CHOICES)


def _checked(array: Any) -> NDArray[Any]:
    """A matrix of numbers."""
    if isinstance(array, np.ma.MaskedArray):
        raise LabelError("labels must be an array without a mask, got one; y.filled(...) fills it")
    matrix = np.asarray(array)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        hint = ""
        if matrix.ndim == 1 and matrix.dtype.kind in "iu":
            hint = "; numbers of classes must be made a row of 0 and 1 for each image"
        elif matrix.ndim == 2 and matrix.size:
            hint = f", {shown(in_python(matrix[0, 0]))} first"
        raise LabelError(
            "labels must be a numeric matrix [images, labels], got "
            f"{matrix.dtype} {matrix.shape}{hint}"
        )
    return matrix


def decoded(
    numbers: NDArray[Any],
    encoding: Encoding | None,
    place: Callable[[int, int], str] = "row {}, column {}".format,
) -> PartialLabels:
    """Labels of a matrix of numbers; without an encoding, of 1, 0 and NaN."""
    positive, known = entries_of(numbers, encoding, place)
    if known.all():
        return PartialLabels.full(positive, copy=False)
    return PartialLabels(positive, known)
