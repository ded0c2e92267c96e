"""The compare command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from labelattack.cli._console import (
    AsJson,
    Plugins,
    load_plugins,
    one_of,
    print_json,
    say,
    stored_records,
)
from labelattack.cli._options import Comparing, expanded
from labelattack.cli.check import print_check

Format = Literal["table", "markdown"]


@expanded
def compare(
    then: Annotated[Path, typer.Argument(metavar="A", help="Store that serves as baseline.")],
    now: Annotated[Path, typer.Argument(metavar="B", help="Store that is compared with it.")],
    comparing: Comparing,
    format: Annotated[
        Format, typer.Option(help="How to print it.", **one_of("format", Format))
    ] = "table",
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Compares two stores: what is worse or better in B than in A, beyond noise and tolerance?

    The tests are those of check, with A in place of a baseline file. Exits with 0 if nothing is
    worse, 1 if something is, 2 if something of A cannot be compared.

    For example: `labelattack compare results-main results --tolerance 1`
    """
    from labelattack.benchmark.gate import formats
    from labelattack.benchmark.gate.check import compare_records

    load_plugins(plugin)
    limits = comparing.limits()
    found = compare_records(stored_records(then), stored_records(now), limits)
    found = found.model_copy(update={"notes": [f"then: {then}; now: {now}", *found.notes]})
    if as_json:
        print_json(found.model_dump_json(indent=1))
    elif format == "markdown":
        typer.echo(formats.to_markdown(found))
    else:
        print_check(found)
    say(formats.summary(found))
    raise typer.Exit(found.exit_code)
