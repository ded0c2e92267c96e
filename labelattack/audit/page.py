"""The page of an audit: its entries with thumbnails, and a place for verdicts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from labelattack.audit.run import Audit
from labelattack.benchmark.report.html.document import document, embedded
from labelattack.datasets.decoding import Pixels
from labelattack.datasets.images import Images
from labelattack.errors import StoreError
from labelattack.files.storage import saved
from labelattack.optional import require

MOST_SHOWN = 200
"""Entries of a page; the pictures of more would make it too large to open."""
_SIDE, _QUALITY = 192, 80
_SCRIPTS = ("basics.js", "audit_page.js")


def check_page(path: Path) -> None:
    """Checks, before the work, that a page can be made.

    Raises:
        StoreError: If its name does not end in ``.html``.
        LabelAttackError: If jinja2 is not installed.
    """
    if path.suffix.lower() != ".html":
        raise StoreError(f"the page of an audit must end in .html, got '{path}'")
    require("jinja2", "report")


def write_page(path: Path, audit: Audit, images: Images, facts: Sequence[tuple[str, str]]) -> None:
    """Writes the first entries of an audit as one self-contained page.

    Args:
        path: File of the page, ``.html``.
        audit: The audit.
        images: The images.
        facts: Names and values in the head of the page.

    Raises:
        StoreError: If it has another name, or cannot be written.
        DatasetError: If an image cannot be read.
        LabelAttackError: If jinja2 is not installed.
    """
    check_page(path)
    shown = audit.findings[:MOST_SHOWN]
    rows = sorted({found.row for found in shown})
    place = {row: number for number, row in enumerate(rows)}
    entries = [
        {
            "rank": found.rank,
            "image": found.image,
            "class": found.label,
            "score": found.score,
            "status": found.status,
            "picture": place[found.row],
        }
        for found in shown
    ]
    text = document(
        "audit_page.html.j2",
        _SCRIPTS,
        facts=facts,
        shown=len(shown),
        total=len(audit.findings),
        data=embedded({"entries": entries, "pictures": [thumbnail(images[row]) for row in rows]}),
    )
    with saved(path, "page") as part:
        part.write_text(text, encoding="utf-8")


def thumbnail(pixels: Pixels) -> str:
    """A small JPEG of an image, as a data URI.

    Args:
        pixels: uint8 ``[height, width, 3]``.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
