"""The page about what an attack did to labels: its counts, classes, and a picture."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelattack.benchmark.report.html.document import document, embedded
from labelattack.benchmark.report.label_difference import check_shapes, class_counts, class_table
from labelattack.benchmark.report.label_plots import difference_figure
from labelattack.errors import StoreError, printable
from labelattack.files.storage import saved
from labelattack.labels import PartialLabels
from labelattack.optional import require

SCRIPTS = ("basics.js", "table.js", "label_page.js")


def check_label_page(path: Path) -> Path:
    """Checks, before the work, that a page can be made, and names the picture beside it.

    Args:
        path: File of the page.

    Returns:
        File of the picture.

    Raises:
        StoreError: If the name of the page does not end in ``.html``.
        LabelAttackError: If jinja2 is not installed.
    """
    if path.suffix.lower() != ".html":
        raise StoreError(f"the report of an attack must end in .html, got '{path}'")
    require("jinja2", "report")
    return path.with_suffix(".png")


def write_label_page(
    path: Path,
    facts: Sequence[tuple[str, str]],
    before: PartialLabels,
    after: PartialLabels,
    classes: Sequence[str],
) -> None:
    """Writes the page about one attack on one label matrix, and its picture beside it.

    Args:
        path: File of the page, ``.html``; the picture has the same name and ``.png``.
        facts: Names and values in the head of the page; the first value is its heading.
        before: Labels before the attack.
        after: Labels after it.
        classes: Name of each class.

    Raises:
        LabelError: If the labels have different shapes.
        StoreError: If the page has another name, or a file cannot be written.
        LabelAttackError: If jinja2 is not installed.
    """
    beside = check_label_page(path)
    check_shapes(before, after)
    name = facts[0][1]
    figure, remarks = difference_figure(before, after, list(classes), name)
    picture = _png(figure)
    text = document(
        "label_page.html.j2",
        SCRIPTS,
        name=printable(name),
        facts=facts,
        remarks=remarks,
        images=before.shape[0],
        picture=base64.b64encode(picture).decode(),
        data=embedded(class_table(classes, class_counts(before, after))),
    )
    for file, what, content in ((path, "report", text.encode()), (beside, "picture", picture)):
        with saved(file, what) as part:
            part.write_bytes(content)


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in scripts that the font lacks; the table of the page has them in text.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(content, format="png")
    return content.getvalue()
