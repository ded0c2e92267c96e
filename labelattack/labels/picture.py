"""Picture of partial labels for notebooks."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from labelattack.labels.partial import PartialLabels

COLOURS = {"positive": "#0072B2", "negative": "#EEF1F4", "hidden": "#9B9FA6"}
"""Colour of each state: told apart by brightness too, so that they are by colour-blind eyes."""

_IMAGES, _CLASSES = 600, 200  # most that are drawn
_WIDTH, _HEIGHT, _LARGEST = 600, 240, 12  # of the picture and of an entry, in CSS pixels


def picture(labels: PartialLabels) -> str:
    """HTML with a picture of the label matrix, a column an image and a row a class.

    It needs no style sheet, script or network, and is legible on light and on dark ground. Of more
    images or classes than it has room for, it shows some at equal distances, and says so.

    Args:
        labels: The labels.
    """
    images, classes = labels.shape
    rows, columns = _spaced(images, _IMAGES), _spaced(classes, _CLASSES)
    shown = labels.take(rows)
    states = np.where(shown.observed, np.where(shown.values, 0, 1), 2).astype(np.uint8)[:, columns]
    positive, known = labels.known_positives, labels.known
    counts = (positive, known - positive, images * classes - known)
    drawn = [
        f"{part:,} of {whole:,} {what}"
        for part, whole, what in (
            (len(rows), images, "images"),
            (len(columns), classes, "classes"),
        )
        if part < whole
    ]
    remark = f"<br><small>drawn: {' and '.join(drawn)}, evenly spaced; counts are of all</small>"
    legend = " &ensp; ".join(
        f'<span style="display:inline-block;width:0.8em;height:0.8em;background:{colour};'
        f'border:1px solid #767676"></span> {name} {count:,}{_share(count, images * classes)}'
        for (name, colour), count in zip(COLOURS.items(), counts, strict=True)
    )
    return (
        f"<div><div>PartialLabels: {images:,} images (across) &times; {classes:,} classes (down)"
        f"</div>{_image(states.T)}<div>{legend}{remark if drawn else ''}</div></div>"
    )


def _spaced(count: int, most: int) -> NDArray[np.int64]:
    """Positions at equal distances, all if there are few."""
    return np.arange(min(count, most)) * count // max(min(count, most), 1)


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.3g} %)" if whole else ""


def _image(states: NDArray[np.uint8]) -> str:
    """An ``img`` of a matrix of states, with a pixel an entry."""
    if not states.size:
        return ""
    from PIL import Image

    height, width = states.shape
    drawn = Image.fromarray(states)
    drawn.putpalette(bytes.fromhex("".join(COLOURS.values()).replace("#", "")))
    file = io.BytesIO()
    drawn.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    wide = width * _size(width, _WIDTH)
    high = height * _size(height, _HEIGHT)
    return (
        f'<img alt="the label matrix" src="data:image/png;base64,{data}" style="width:{wide}px;'
        f"height:{high}px;max-width:100%;image-rendering:pixelated;border:1px solid #767676;"
        'margin:4px 0">'
    )


def _size(count: int, room: int) -> int:
    """Side of an entry in whole CSS pixels, so that all entries are equally large."""
    return min(max(room // count, 1), _LARGEST)
