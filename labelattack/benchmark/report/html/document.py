"""Self-contained HTML documents of the package's templates, style sheet and scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from pydantic_core import to_json

from labelattack.optional import require


def document(template: str, scripts: Sequence[str], *, plotly: str = "", **values: Any) -> str:
    """Renders a template of this folder.

    Args:
        template: Name of its file.
        scripts: Names of the script files that run in it, in order.
        plotly: Source of plotly.js, which ``pictures.js`` starts when it is needed.
        **values: Values of the template.

    Returns:
        HTML that needs nothing else. Every name in it is text, whatever it holds: the template
        escapes, data cannot end their element, and only the page's own scripts, by their hashes,
        may run.

    Raises:
        LabelAttackError: If jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")
    markup = require("markupsafe", "report").Markup
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_read)
    )
    script = "\n".join(map(_read, scripts))
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    hashes = " ".join(f"'{_hash(text)}'" for text in (script, plotly) if text)
    html: str = environment.get_template(template).render(
        version=version("labelattack"),
        style=markup(_read("style.css")),
        script=markup(script),
        plotly=markup(plotly),
        policy="; ".join([
            "default-src 'none'",
            f"script-src {hashes}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]),
        **values,
    )  # fmt: skip
    return html


def embedded(data: Any) -> Any:
    """Data as JSON for a script element, marked as safe; numbers that are not finite become null.

    Raises:
        LabelAttackError: If jinja2 is not installed.
    """
    markup = require("markupsafe", "report").Markup
    return markup(inert(to_json(data, inf_nan_mode="null").decode()))


def inert(json: str) -> str:
    """JSON that can stand in a script element: nothing in it looks like markup."""
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return json


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
