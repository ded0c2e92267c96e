"""Images of a label file, looked for in one folder or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from labelattack.datasets.images import FileImages, inside
from labelattack.datasets.official import absent_rows, looked_for
from labelattack.errors import DatasetError
from labelattack.files.storage import is_file, is_there


def images_in(folders: Sequence[Path], ids: Sequence[str], labels: str) -> FileImages:
    """Finds each image in one of the folders.

    Args:
        folders: The folders.
        ids: Path of each image, relative to its folder; separators of Windows are understood.
        labels: The label file, for messages.

    Raises:
        DatasetError: If there is no such folder, a name leads out of it, or an image is in none
            of them or in two; names the first such image, and counts them.
    """
    for folder in folders:
        if not is_there(folder) or not folder.is_dir():
            raise DatasetError(f"images must be a folder or an .npy file, got '{folder}'")
    names = [name.replace("\\", "/") for name in ids]
    if len(folders) == 1:
        images = FileImages(folders[0], names)
        if missing := absent_rows(images):
            raise _absent(len(missing), len(ids), labels, looked_for(images, missing[0]))
        return images
    found = _folder_of_each(folders, names)
    if gone := [row for row, where in enumerate(found) if not where]:
        raise _absent(len(gone), len(ids), labels, f"'{names[gone[0]]}' in none of the folders")
    if twice := [row for row, where in enumerate(found) if len(where) > 1]:
        row = twice[0]
        one, other = (folders[n] / names[row] for n in found[row][:2])
        raise DatasetError(
            f"an image of '{labels}' must be in one folder, got '{one}' and '{other}' "
            f"({len(twice)} such)"
        )
    try:
        parent = Path(os.path.commonpath(folders))
    except ValueError as error:  # drives of Windows
        raise DatasetError(f"folders of images must share a parent folder: {error}") from error
    below = [folder.relative_to(parent).as_posix() for folder in folders]
    paths = zip(found, names, strict=True)
    return FileImages(parent, [f"{below[where[0]]}/{name}" for where, name in paths])


def _folder_of_each(folders: Sequence[Path], names: Sequence[str]) -> list[list[int]]:
    """Positions of the folders that have each image."""
    for folder in folders:
        inside(folder, names)
    return [[n for n, folder in enumerate(folders) if is_file(folder / name)] for name in names]


def _absent(count: int, total: int, labels: str, first: str) -> DatasetError:
    return DatasetError(f"{count} of {total} images of '{labels}' are not there, the first {first}")
