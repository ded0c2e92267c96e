"""Streaming reader for the JSON files of datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labelattack.errors import DatasetError
from labelattack.files import json_stream


def items(path: Path, key: str) -> Iterator[Any]:
    """Yields the elements of one top-level array.

    Args:
        path: JSON file.
        key: Name of the array; empty if the file is an array itself.

    Raises:
        DatasetError: If the file cannot be read, is not JSON, or is nested too deeply.
    """
    with _of(path):
        yield from json_stream.elements(path, f"{key}.item" if key else "item")


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields keys and values of the top-level object, repeated keys too.

    Raises:
        DatasetError: If the file cannot be read, is not JSON, or is nested too deeply.
    """
    with _of(path):
        yield from json_stream.members(path)


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Errors within the block name the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' must be JSON: {error}") from error
