"""The reproduce command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelattack.cli._console import load_plugins, one_of, print_json, print_table, say
from labelattack.cli._options import Execution, Training, expanded
from labelattack.cli.bench import experiment_of, run_and_render
from labelattack.cli.data import say_source
from labelattack.cli.show import print_boards

if TYPE_CHECKING:
    from labelattack.benchmark.plan.config import Experiment
    from labelattack.benchmark.store.record import Record
    from labelattack.datasets.base import Dataset

PaperTable = Literal["table1", "table2", "table3", "figure2", "single-positive"]
Format = Literal["table", "json", "markdown"]


@expanded
def reproduce(
    table: Annotated[
        PaperTable,
        typer.Argument(
            help="Of the paper; single-positive: of the field.", **one_of("table", PaperTable)
        ),
    ],
    training: Training,
    execution: Execution,
    scale: Annotated[
        str,
        typer.Option(
            help="small: a linear head on VOC 2007, minutes on two cores; paper: as the paper, on "
            "COCO, VOC 2012 and NUS-WIDE (single-positive: and CUB), for GPUs."
        ),
    ] = "small",
    weights: Annotated[bool, typer.Option(help="Keep what each run trained.")] = False,
    format: Annotated[
        Format, typer.Option(help="How to print the comparison.", **one_of("format", Format))
    ] = "table",
) -> None:
    """Runs a table of the paper and sets its numbers beside the measured ones.

    Finished runs are stored; the same command again computes only what is missing, and the tables
    share what they have in common. What was run is said above each comparison: only --scale paper
    is the paper's own protocol. Where several papers report a number, as for single-positive, their
    range stands beside the measured one. --dry-run counts the runs and says which data are missing.

    For example: `labelattack reproduce table1 --seeds 1`
    """
    from labelattack.benchmark.plan.config import paper_folder

    path = paper_folder() / f"{table}.toml"
    wanted = experiment_of(path, scale, training)
    form = "json" if execution.as_json else format

    if execution.dry_run:
        load_plugins(execution.plugin)
        _print_plan(wanted, form)
        return

    def render(records: list[Record]) -> None:
        if wanted.reported:
            _print_comparisons(wanted, records, form)
        else:
            _print_figure(records, execution.out / "pictures" / f"{table}.png", form)

    how = replace(execution, as_json=form != "table")
    run_and_render(wanted, how, render, weights=weights)


def _print_plan(wanted: Experiment, form: str) -> None:
    """Prints the grid of each dataset, its number of cells, and whether its data are there."""
    from labelattack.datasets import registry as datasets
    from labelattack.datasets.dataset_card import MISSING

    columns = ("dataset", "model", "protocol", "attacks", "defenses", "seeds", "cells", "missing")
    absent: list[Dataset] = []
    rows: list[tuple[str | int, ...]] = []
    for grid in wanted.grids():
        dataset, cells = datasets.create(grid.dataset), grid.cells("")  # of any fingerprint
        missing = [each.what for each in dataset.examine() if each.found == MISSING]
        absent += [dataset] if missing else []
        crossed = [len({c.attack for c in cells}), len({c.defense for c in cells}), len(grid.seeds)]
        named = (grid.dataset, grid.model, grid.protocol)
        rows.append((*named, *crossed, len(cells), "\n".join(missing) or "nothing"))
    if form == "json":
        print_json(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
    else:
        print_table(wanted.title, columns, [[str(each) for each in row] for row in rows])
    for dataset in absent:
        say_source(dataset)


def _print_comparisons(wanted: Experiment, records: list[Record], form: str) -> None:
    from labelattack.benchmark.paper import comparison, ranges
    from labelattack.benchmark.paper.measured import to_markdown

    many = bool(wanted.reported[0].source)
    compare = ranges.compare if many else comparison.compare
    found = compare(wanted.title, wanted.reported, records)
    if form == "json":
        print_json("[" + ",\n".join(c.model_dump_json(indent=1) for c in found) + "]")
    elif form == "markdown":
        typer.echo(to_markdown([one.table() for one in found]))
    else:
        for one in found:
            shown = one.table()
            title = f"{shown.title}: {shown.about}"
            print_table(title, shown.columns, shown.rows, rigid=shown.rigid)
            typer.echo("\n".join(shown.remarks))
        typer.echo(ranges.LEGEND if many else comparison.LEGEND)
    if not found:
        say(f"the {'papers report' if many else 'paper reports'} nothing for these datasets")


def _print_figure(records: list[Record], picture: Path, form: str) -> None:
    from labelattack.benchmark.boards.leaderboard import boards
    from labelattack.benchmark.report.plots import draw_curves

    print_boards(records, form)
    for number, board in enumerate(boards(records)):
        numbered = picture.with_name(f"{picture.stem}{number or ''}{picture.suffix}")
        draw_curves(numbered, board)
        falling = sum(curve.falls for curve in board.curves)
        say(
            f"mean mAP falls with every step in {falling} of {len(board.curves)} curves; the paper "
            f"prints no numbers for this figure; drew '{numbered}'"
        )
