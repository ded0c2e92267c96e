"""Reads labels out of a container of any kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from labelattack.errors import LabelError
from labelattack.files.names import check_names
from labelattack.labels.containers.arrays import from_array, from_tensor
from labelattack.labels.containers.base import Contained, is_a, texts_of
from labelattack.labels.containers.frames import from_frame
from labelattack.labels.containers.mappings import from_mapping
from labelattack.labels.containers.sparse import from_sparse
from labelattack.labels.encoding import Encoding, check_encoding
from labelattack.labels.partial import PartialLabels


def contained(
    y: Any,
    encoding: Encoding | None = None,
    *,
    ids: Sequence[Any] | None = None,
    classes: Sequence[Any] | None = None,
) -> Contained:
    """Labels in a container.

    Args:
        y: A matrix ``[images, labels]`` as NumPy array, torch tensor, pandas data frame or SciPy
            sparse matrix; a mapping from images to lists of their classes, or to mappings from
            classes to codes; or partial labels.
        encoding: Encoding of its numbers; None for 1 and 0, with NaN (NA) for unknown. What a
            sparse matrix or a mapping does not list has the code 0.
        ids: Names of the images, of a container that has none.
        classes: Names of the classes, likewise; of a mapping the valid ones, in their order.

    Raises:
        LabelError: If it is anything else, or holds something else; names place and value.
        UnknownNameError: If the encoding is unknown.
    """
    if encoding is not None:
        check_encoding(encoding)
    if isinstance(y, Mapping) and not _is_sparse(y):  # one format of SciPy is a mapping too
        found, classes = from_mapping(y, encoding, classes), None
    else:
        found = _reader_of(y)(y, encoding)
    return replace(found, labels=_named(found, ids, classes))


def _reader_of(y: Any) -> Callable[[Any, Encoding | None], Contained]:
    if isinstance(y, PartialLabels):
        return _from_labels
    if isinstance(y, np.ndarray):
        return from_array
    if is_a(y, "torch", "Tensor"):
        return from_tensor
    if is_a(y, "pandas", "DataFrame"):
        return from_frame
    if _is_sparse(y):
        return from_sparse
    hint = "numpy.asarray(y) makes an array" if isinstance(y, list | tuple) else ""
    hint = "y.to_dict() makes a mapping" if is_a(y, "pandas", "Series") else hint
    raise LabelError(
        "y must be a NumPy array, torch tensor, pandas DataFrame, SciPy sparse matrix, mapping "
        f"from images to their classes, or PartialLabels, got {type(y).__name__}" + (
            f"; {hint}" if hint else ""
        )
    )  # fmt: skip


def _is_sparse(y: Any) -> bool:
    scipy = sys.modules.get("scipy.sparse")
    return scipy is not None and bool(scipy.issparse(y))


def _named(
    found: Contained, ids: Sequence[Any] | None, classes: Sequence[Any] | None
) -> PartialLabels:
    labels, names = found.labels, []
    for what, given, own, count in (
        ("image_ids", ids, found.labels.ids, labels.shape[0]),
        ("class_names", classes, found.labels.classes, labels.shape[1]),
    ):
        if given is not None and own is not None:
            raise LabelError(f"{what} must be left out for {found.what}, which has names itself")
        names.append(own if given is None else texts_of(what, given))
        if (texts := names[-1]) is not None and len(texts) != count:
            raise LabelError(f"{what} must be {count} names, got {len(texts)}")
    check_names(names[0] or (), names[1] or ())
    return labels.named(*names)


def _from_labels(y: PartialLabels, encoding: Encoding | None) -> Contained:
    if encoding is not None:
        raise LabelError(f"labels_encoding must be left out for PartialLabels, got '{encoding}'")
    return Contained(y, "PartialLabels", "missing", lambda left, _: left, has_codes=False)
