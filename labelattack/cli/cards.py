"""The cards command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelattack.cli._console import Plugins, load_plugins, say, stored_records
from labelattack.cli._options import Results


def cards(
    results: Results,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the cards.")],
    spec: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.toml",
            help="Experiment whose reported numbers go beside the measured ones; repeatable. "
            "Default: the tables of the paper.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Writes one JSON file per board row: configuration, measured and reported numbers.

    The same store gives the same bytes. Files of rows that no longer exist stay, and are listed.

    For example: `labelattack cards results --out cards`
    """
    from labelattack.benchmark.paper.result_cards import cards as made_of
    from labelattack.benchmark.paper.result_cards import papers_in, write_cards
    from labelattack.benchmark.plan.config import paper_folder
    from labelattack.errors import StoreError

    load_plugins(plugin)
    papers = papers_in(spec or sorted(paper_folder().glob("*.toml")))
    made = made_of(stored_records(results), papers)
    if not made:
        raise StoreError(f"'{results}' must hold a run, got none")
    for path in write_cards(out, made):
        say(f"no row of this store: '{path}'; remove it if it is stale")
    say(f"wrote {len(made)} cards to '{out}'")
