"""The data commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from labelattack.cli._completion import names_of
from labelattack.cli._console import AsJson, Plugins, load_plugins, print_table, progress_bars, say

if TYPE_CHECKING:
    from labelattack.datasets.base import Dataset

data = typer.Typer(no_args_is_help=True, help="Dataset cards, and checks of local copies.")
Name = Annotated[
    str,
    typer.Argument(
        help="Dataset, e.g. coco:year=2017 or voc:root=FOLDER.",
        autocompletion=names_of("datasets"),
    ),
]


@data.command()
def card(name: Name, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Shows the card of a dataset: sizes, splits, licence, download page, required layout.

    For example: `labelattack data card coco:year=2014`
    """
    from dataclasses import asdict

    from labelattack.datasets import registry as datasets
    from labelattack.errors import DatasetError

    load_plugins(plugin)
    facts = datasets.create(name).card()
    if facts is None:
        raise DatasetError(f"dataset '{name}' has no card: nothing is published about it")
    if as_json:
        typer.echo(json.dumps(asdict(facts), indent=1))
        return

    def sizes(of: str) -> str:
        size = f"{of}: {facts.images[of]:,}"
        return size + (f" ({facts.labelled[of]:,} with a label)" if of in facts.labelled else "")

    def stated(number: float | None) -> str:
        return "not stated" if number is None else f"{number:,g}"

    rows = [
        ("labels", stated(facts.labels)),
        ("images", "\n".join(map(sizes, facts.images))),
        ("declared positives per image", stated(facts.positives_per_image)),
        ("splits", facts.splits),
        ("licence", facts.licence),
        ("get it from", facts.home),
        ("place under $LABELATTACK_DATA", "\n".join(facts.layout)),
        *((f"SHA-256 of labels, {of}", digest) for of, digest in facts.checksums.items()),
        ("remarks", "\n".join(facts.remarks)),
    ]
    print_table(facts.title, ("", ""), [row for row in rows if row[1]])


@data.command()
def check(name: Name, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Checks a copy of a dataset for missing files and against the official counts.

    Decodes all images and remembers the result. Downloads nothing. Exits with 1 if
    something is missing or differs.

    For example: `labelattack data check voc:year=2007`
    """
    from labelattack.datasets import registry as datasets
    from labelattack.datasets.dataset_card import MISSING
    from labelattack.datasets.verification import readable

    load_plugins(plugin)
    dataset = datasets.create(name)
    with progress_bars(quiet=as_json) as progress:
        progress("reading", 0, 1)
        findings = dataset.examine()
        progress("reading", 1, 1)
        if all(finding.found != MISSING for finding in findings):
            findings += readable(dataset.load(), progress)
    whole = all(finding.fine for finding in findings)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        rows = [(f.what, f.expected, f.found, "" if f.fine else "differs") for f in findings]
        print_table(f"dataset {name}", ("", "expected", "found", ""), rows)
        if any(finding.found == MISSING for finding in findings):
            say_source(dataset)
    if not whole:
        raise typer.Exit(1)


def say_source(dataset: Dataset) -> None:
    """Says where a dataset is to be had, if it is published, and where its files belong."""
    if (about := dataset.card()) is not None:
        say(f"get it from {about.home} and place under LABELATTACK_DATA or root=FOLDER:")
        for line in about.layout:
            say(f"  {line}")
