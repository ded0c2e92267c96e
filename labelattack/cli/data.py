"""The data commands."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from labelattack.cli._console import AsJson, Plugins, load_plugins, print_table, progress_bars, say

data = typer.Typer(no_args_is_help=True, help="What datasets need, and whether a copy is whole.")
Name = Annotated[str, typer.Argument(help="Dataset, e.g. coco:year=2017 or voc:root=FOLDER.")]


@data.command()
def card(name: Name, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Shows what is published of a dataset: sizes, splits, licence, where to get it, its layout."""
    from dataclasses import asdict

    from labelattack.datasets import registry as datasets
    from labelattack.errors import DatasetError

    load_plugins(plugin)
    found = datasets.create(name).card()
    if found is None:
        raise DatasetError(f"dataset '{name}' has no card: nothing is published about it")
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return

    def sizes(of: str) -> str:
        size = f"{of}: {found.images[of]:,}"
        return size + (f" ({found.labelled[of]:,} with a label)" if of in found.labelled else "")

    rows = [
        ("labels", str(found.labels)),
        ("images", "\n".join(map(sizes, found.images))),
        ("declared positives per image", f"{found.positives_per_image:g}"),
        ("splits", found.splits),
        ("licence", found.licence),
        ("get it from", found.home),
        ("place under $LABELATTACK_DATA", "\n".join(found.layout)),
        *((f"SHA-256 of labels, {of}", digest) for of, digest in found.checksums.items()),
    ]
    print_table(found.title, ("", ""), rows)


@data.command()
def check(name: Name, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Says what of a dataset is there, what is missing, and whether counts are the official ones.

    Decodes every image, once: what was read stays known. Downloads nothing. Exits with 1 if
    something is missing or differs.
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
        about = dataset.card()
        if about is not None and any(finding.found == MISSING for finding in findings):
            say(f"get it from {about.home} and place under LABELATTACK_DATA or root=FOLDER:")
            for line in about.layout:
                say(f"  {line}")
    if not whole:
        raise typer.Exit(1)
