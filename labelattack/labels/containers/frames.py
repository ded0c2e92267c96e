"""Labels in pandas data frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown
from labelattack.files.names import check_names
from labelattack.labels.containers.arrays import decoded
from labelattack.labels.containers.base import Contained, room_of
from labelattack.labels.conversion import holds
from labelattack.labels.encoding import Encoding, encode
from labelattack.labels.partial import PartialLabels
from labelattack.optional import require


def from_frame(y: Any, encoding: Encoding | None) -> Contained:
    """Labels in a data frame; its index names the images, its columns name the classes.

    Args:
        y: The frame, of columns of numbers or bool.
        encoding: Encoding of its numbers; None for 1 and 0, with NaN or NA for unknown.

    Raises:
        LabelError: If a column is of another type, a name occurs twice, or the encoding does not
            know a number.
    """
    pandas = require("pandas", "dataframe")
    ids, classes = ([str(name).strip() for name in names] for names in (y.index, y.columns))
    check_names(ids, classes)
    dtypes = list(y.dtypes)
    columns = [_numbers(y.iloc[:, n], name) for n, name in enumerate(classes)]
    numbers = np.stack(columns, axis=1) if columns else np.zeros((len(ids), 0))

    def place(row: int, column: int) -> str:
        return f"row {row} ('{ids[row]}'), column '{classes[column]}'"

    def write(left: PartialLabels, codes: Encoding) -> Any:
        made = to_columns(left, codes, dtypes)
        frame = pandas.DataFrame(dict(enumerate(made)), index=y.index)
        frame.columns = y.columns
        return frame

    own = all(isinstance(dtype, np.dtype) and dtype.kind == "i" for dtype in dtypes)
    labels = decoded(numbers, encoding, place).named(ids, classes)
    return Contained(labels, "a data frame", room_of("i" if own else "f", encoding), write)


def _numbers(column: Any, name: str) -> NDArray[np.float64]:
    """Numbers of a column; NaN where it has no value."""
    pandas = require("pandas", "dataframe")
    if isinstance(column.dtype, pandas.SparseDtype):
        raise LabelError(f"column '{name}' must be dense, got {column.dtype}; y.sparse.to_dense()")
    if column.dtype.kind not in "buif":
        first = f", {shown(column.iloc[0])} first" if len(column) else ""
        raise LabelError(
            f"column '{name}' must hold numbers or bool, got {column.dtype}{first}; if it names "
            f"the images: y.set_index({name!r}), if some labels are None: y.convert_dtypes()"
        )
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def to_columns(labels: PartialLabels, encoding: Encoding, dtypes: list[Any]) -> list[Any]:
    """Labels as columns of a data frame.

    Args:
        labels: The labels.
        encoding: Codes of the three states; the NaN of ``nan`` is the missing value of a column.
        dtypes: Type of each column, of NumPy or pandas. Where its numbers cannot be the codes, it
            becomes the nullable one of its kind for ``nan``, and else int8.
    """
    numbers = encode(labels, encoding)
    return [_column(numbers[:, n], encoding, dtype) for n, dtype in enumerate(dtypes)]


def _column(numbers: NDArray[Any], encoding: Encoding, dtype: Any) -> Any:
    pandas = require("pandas", "dataframe")
    own = isinstance(dtype, np.dtype)
    if own and holds(dtype.kind, encoding):
        return numbers.astype(dtype)
    if encoding != "nan" and not holds(dtype.kind, encoding):
        return numbers if own else pandas.array(numbers, dtype="Int8")
    nullable = pandas.array(np.zeros(0, dtype)).dtype if own else dtype
    hidden = np.isnan(numbers)
    filled = np.where(hidden, 0, numbers).astype({"b": bool, "f": float}.get(dtype.kind, np.int64))
    column = pandas.array(filled, dtype=nullable)
    column[hidden] = pandas.NA
    return column
