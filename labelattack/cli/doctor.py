"""The doctor command."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelattack.cli._console import AsJson, environment_plugins, say
from labelattack.errors import printable

if TYPE_CHECKING:
    from labelattack.environment import Finding

_MARKS = {"ok": "  ", "absent": "- ", "problem": "! "}


def doctor(
    stores: Annotated[
        list[Path] | None, typer.Argument(help="Stores to look at; default: results.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Says what is installed and found here, what is missing, and what to do about it.

    Marked - is what only some commands need, ! what is in the way. Exits with 0 if a benchmark can
    run here, and with 1 if not.

    For example: `labelattack doctor`
    """
    from dataclasses import asdict

    from labelattack.environment import examined

    found = examined(stores or (), environment_plugins())
    problems = [finding for finding in found if finding.state == "problem"]
    if as_json:
        listed = {"ok": not problems, "findings": [asdict(finding) for finding in found]}
        typer.echo(json.dumps(listed, indent=1))
    else:
        for area, findings in groupby(found, lambda finding: finding.area):
            _print(area, list(findings))
    if problems:
        say(f"not ready: {', '.join(each.name for each in problems)}")
        raise typer.Exit(1)
    say("ready")


def _print(area: str, findings: list[Finding]) -> None:
    typer.echo(area)
    # What is to be done of several things is said once, below them.
    for fix, alike in groupby(findings, lambda finding: finding.fix):
        for finding in alike:
            told = f"{_MARKS[finding.state]}{finding.name}: {finding.value}"
            typer.echo(printable(f"  {told}"))
        if fix:
            typer.echo(printable(f"      {fix}"))
