"""The report command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labelattack.cli._console import Plugins, load_plugins, say, stored_records
from labelattack.cli._options import Mix, Results
from labelattack.errors import printable


def report(
    results: Results,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Default: RESULTS/report.html.")
    ] = None,
    mix: Mix = None,
    plugin: Plugins = None,
) -> None:
    """Writes the boards of a store as one self-contained HTML page: tables, pictures, data.

    For example: `labelattack report results --out report.html`
    """
    from labelattack.benchmark.report.html.page import write_report

    load_plugins(plugin)
    path = out or results / "report.html"
    mixed: Any = mix or ()
    write_report(path, printable(results.resolve().name), stored_records(results), mix=mixed)
    say(f"wrote '{path}'")
