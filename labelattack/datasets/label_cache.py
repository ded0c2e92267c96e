"""Cache of the labels of large annotation files, by the content of the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import DatasetError
from labelattack.files.content import content_digest
from labelattack.files.storage import cache_folder, written_whole
from labelattack.hashing import digest

Arrays = Mapping[str, NDArray[Any]]
T = TypeVar("T")


def cached(
    dataset: str,
    files: Sequence[Path],
    settings: Sequence[object],
    parse: Callable[[], Arrays],
    build: Callable[[Arrays], T],
) -> T:
    """Labels of annotation files, from the cache folder if files of this content were read before.

    Args:
        dataset: Name of the dataset.
        files: The annotation files.
        settings: Whatever else the labels depend on, such as the version of their checks; can be
            written as JSON.
        parse: Reads the files. Arrays of text must be of fixed width, as ``np.array(list)`` is.
        build: Makes labels of the arrays; raises an exception on arrays that do not fit together.

    Raises:
        DatasetError: If a file cannot be read, or does not pass the checks.
    """
    try:
        key = digest([*settings, *map(content_digest, files)])
    except OSError as error:
        raise DatasetError(f"'{error.filename}' cannot be read: {error}") from error
    kept = cache_folder() / "labels" / f"{dataset}-{key}.npz"
    # The reader may raise any exception on a damaged archive.
    with suppress(Exception), kept.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return build({name: file[name] for name in file.files})
    arrays: dict[str, Any] = dict(parse())
    labels = build(arrays)
    # An unwritable cache only costs time.
    with suppress(OSError), written_whole(kept) as part, part.open("wb") as target:
        np.savez_compressed(target, **arrays)
    return labels


def check_texts(*arrays: NDArray[Any]) -> None:
    """Raises ValueError unless each array is a list of text."""
    for array in arrays:
        if array.ndim != 1 or array.dtype.kind != "U":
            raise ValueError(f"names must be a list of text, got {array.dtype} {array.shape}")
