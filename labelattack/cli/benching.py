"""The bench command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from labelattack.cli.boards import print_boards
from labelattack.cli.common import (
    EXIT_FAILED_CELLS,
    EXIT_INTERRUPTED,
    AsJson,
    Device,
    DScoreOption,
    Jobs,
    Plugins,
    d_score_settings,
    load_plugins,
    print_table,
    progress_bars,
    say,
    validated,
)


def bench(
    attack: Annotated[
        list[str] | None, typer.Option(help="Attack, e.g. targeted:rate=0.4; repeatable.")
    ] = None,
    defense: Annotated[
        list[str] | None, typer.Option(help="Defense, e.g. wan:weight=0.1; repeatable.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Dataset, e.g. voc:year=2007.")] = "digits",
    model: Annotated[str | None, typer.Option(help="Model; default: the dataset's.")] = None,
    protocol: Annotated[
        str, typer.Option(help="finetune: end to end; linear: head on frozen features.")
    ] = "finetune",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each pair, seeds 0 to N-1.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = 10,
    lr: Annotated[
        list[float] | None,
        typer.Option(help="Learning rate; several are searched. Default: the protocol's."),
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Batch size; several are searched.")
    ] = None,
    selection: Annotated[
        Literal["attacked", "clean"],
        typer.Option(help="Validation labels that choose epoch and recipe; clean is privileged."),
    ] = "attacked",
    reference: Annotated[
        bool, typer.Option(help="Add the reference that sees every clean label.")
    ] = True,
    d_score: DScoreOption = "default",
    weights: Annotated[bool, typer.Option(help="Keep what each run trained.")] = True,
    device: Device = "auto",
    jobs: Jobs = None,
    out: Annotated[Path, typer.Option(help="Store of results.")] = Path("results"),
    retry_failed: Annotated[bool, typer.Option(help="Run failed cells again.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would run, and stop.")] = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Crosses attacks with defenses and prints the leaderboard.

    Finished runs are stored; the same command again computes only what is missing. --d-score none
    leaves the D-Score out.
    """
    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.grid import Grid
    from labelattack.benchmark.loading import load
    from labelattack.benchmark.runner import run_grid
    from labelattack.benchmark.store import RecordStore
    from labelattack.datasets import registry as datasets
    from labelattack.defenses import registry as defenses
    from labelattack.training.device import resolve_device
    from labelattack.training.protocols import check_protocol

    load_plugins(plugin)
    check_protocol(protocol)
    settings = None if d_score == "none" else d_score_settings(d_score)
    resolved = datasets.resolve(dataset)
    grid = validated(
        Grid,
        dataset=dataset,
        model=model or datasets.get(resolved.name).default_model,
        protocol=protocol,
        attacks=tuple(attack or ["targeted"]),
        defenses=tuple(defense or ["pseudo-history"]),
        seeds=tuple(range(seeds)),
        epochs=epochs,
        lrs=tuple(lr or ()),
        batch_sizes=tuple(batch_size or ()),
        selection=selection,
        reference=reference,
    )
    for spec in grid.attacks:
        attacks.resolve(spec)  # before anything is read or computed
    computed_on = str(resolve_device(device))
    grid.cells("")  # every name and parameter is checked before a dataset is read
    splits = load(str(resolved))
    for note in splits.warnings:
        say(f"note: {note}")
    cells = grid.cells(splits.fingerprint)
    if dry_run:
        _dry_run(cells, RecordStore(out) if (out / "store.json").is_file() else None, as_json)
        return
    store = RecordStore(out)
    processes = jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1)
    try:
        with progress_bars(quiet=as_json) as progress:
            computed = run_grid(
                cells,
                store,
                device=computed_on,
                jobs=processes,
                plugins=tuple(str(Path(path).resolve()) for path in plugin or ()),
                retry_failed=retry_failed,
                d_score=settings,
                keep_weights=weights,
                progress=progress,
            )
    except KeyboardInterrupt:
        there = sum(store.get(cell.key) is not None for cell in cells)
        say(
            f"interrupted: {there} of {len(cells)} cells are in '{out}'; "
            "run the same command again to go on"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    records = [record for cell in cells if (record := store.get(cell.key)) is not None]
    failed = [record for record in records if record.status == "failed"]
    print_boards(records, "json" if as_json else "table")
    if computed:
        stored = len(cells) - computed
        say(f"computed {computed} of {len(cells)} cells; {stored} were in '{out}' already")
    else:
        say(f"nothing to compute: all {len(cells)} cells were in '{out}' already")
    for record in failed:
        cell = record.cell
        pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        say(f"failed: {pair}, lr {cell.recipe.lr:g}, seed {cell.seed}: {record.reason}")
    if failed:
        raise typer.Exit(EXIT_FAILED_CELLS)


def _dry_run(cells: list[Any], store: Any, as_json: bool) -> None:
    known = {c.key for c in cells if store is not None and store.get(c.key) is not None}
    rows = [
        (
            c.key, c.attack, c.defense, f"{c.recipe.lr:g}", str(c.recipe.batch_size),
            str(c.seed), "stored" if c.key in known else "to compute",
        )
        for c in cells
    ]  # fmt: skip
    columns = ("cell", "attack", "defense", "lr", "batch", "seed", "state")
    if as_json:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
    else:
        print_table(f"{len(cells) - len(known)} of {len(cells)} cells to compute", columns, rows)
