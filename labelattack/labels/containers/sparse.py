"""Labels in SciPy's sparse matrices and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelattack.errors import LabelError
from labelattack.labels.containers.base import Contained, entries_of, of_entries
from labelattack.labels.conversion import holds, nonzero_codes
from labelattack.labels.encoding import Encoding
from labelattack.labels.partial import PartialLabels


def from_sparse(y: Any, encoding: Encoding | None) -> Contained:
    """Labels in a sparse matrix or array ``[images, labels]`` of any format.

    Args:
        y: The matrix.
        encoding: Encoding of its numbers, of which those that are absent are 0; None for 1 and 0,
            with NaN for unknown.

    Raises:
        LabelError: If it is no matrix of numbers, or the encoding does not know one of them.
    """
    if y.ndim != 2 or y.dtype.kind not in "biuf":
        raise LabelError(f"labels must be a numeric matrix, got {y.dtype} {y.shape}")
    dtype, listed = y.dtype, y.tocsr(copy=True)
    listed.sum_duplicates()
    rows, columns = np.repeat(np.arange(y.shape[0]), np.diff(listed.indptr)), listed.indices

    def place(n: int) -> str:
        return f"row {rows[n]}, column {columns[n]}"

    states = entries_of(listed.data, encoding, place)
    made = of_entries(y.shape, rows, columns, states, encoding)

    def write(left: PartialLabels, codes: Encoding) -> Any:
        return _like(to_sparse(left, codes, dtype), y)

    choices = (
        "in which what is absent is negative: in 'signed' (1, -1) it is hidden, in 'missing' "
        "(1, -1) and 'nan' (1, NaN) hidden labels are stored and negatives absent"
    )
    kept = None if encoding in (None, "binary") else encoding
    return Contained(made, "a sparse matrix", kept, write, choices)


def _like(made: Any, y: Any) -> Any:
    """A sparse array in the format of another, as an array or a matrix."""
    import scipy.sparse

    found = made.asformat(y.format)
    if isinstance(y, scipy.sparse.sparray):
        return found
    return getattr(scipy.sparse, f"{y.format}_matrix")(found)


def to_sparse(labels: PartialLabels, encoding: Encoding, dtype: np.dtype[Any]) -> Any:
    """Labels as a SciPy array in compressed rows; what is absent has the code 0.

    Args:
        labels: The labels.
        encoding: Codes of the three states.
        dtype: Type of the numbers if it holds the codes, as of ``to_array``.

    Raises:
        LabelError: If something is hidden and the encoding is ``binary``.
    """
    import scipy.sparse

    starts, columns, codes = nonzero_codes(labels, encoding)
    numbers = codes.astype(dtype if holds(dtype.kind, encoding) else codes.dtype)
    return scipy.sparse.csr_array((numbers, columns, starts), shape=labels.shape)
