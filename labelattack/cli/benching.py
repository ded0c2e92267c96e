"""The bench command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    one_of,
    print_table,
    progress_bars,
    say,
)

if TYPE_CHECKING:
    from labelattack.benchmark.spec import Experiment
    from labelattack.benchmark.store import Record

Attacks = Annotated[
    list[str] | None, typer.Option("--attack", help="Attack, e.g. targeted:rate=0.4; repeatable.")
]
Defenses = Annotated[
    list[str] | None, typer.Option("--defense", help="Defense, e.g. wan:weight=0.1; repeatable.")
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Dataset, e.g. voc:year=2007; repeatable."),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Model.")]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="finetune: end to end; linear: head on frozen features.",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Runs of each pair, seeds 0 to N-1."),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Passes over the training set.")
]
LearningRates = Annotated[
    list[float] | None,
    typer.Option("--lr", help="Learning rate; several are searched."),
]
BatchSizes = Annotated[
    list[int] | None,
    typer.Option("--batch-size", help="Batch size; several are searched."),
]
Selection = Literal["attacked", "clean"]
SelectionOption = Annotated[
    Selection | None,
    typer.Option(
        "--selection",
        help="Validation labels that choose epoch and recipe; clean is privileged.",
        **one_of("selection", Selection),
    ),
]
Reference = Annotated[
    bool | None,
    typer.Option(
        "--reference/--no-reference",
        help="Add the reference that sees every clean label.",
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option("--micro-batch", min=1, help="Images per forward pass, to save memory."),
]
Weights = Annotated[bool, typer.Option(help="Keep what each run trained.")]
Out = Annotated[Path, typer.Option("--out", help="Store of results.")]
RetryFailed = Annotated[bool, typer.Option(help="Run failed cells again.")]
DryRun = Annotated[bool, typer.Option(help="Show what would run, and stop.")]
Scale = Annotated[
    str | None, typer.Option("--scale", help="Of the config, the [scale.NAME] to apply.")
]


def bench(
    attack: Attacks = None,
    defense: Defenses = None,
    dataset: DatasetOption = None,
    model: ModelOption = None,
    protocol: ProtocolOption = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    lr: LearningRates = None,
    batch_size: BatchSizes = None,
    selection: SelectionOption = None,
    reference: Reference = None,
    micro_batch: MicroBatch = None,
    d_score: DScoreOption = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Experiment; options override it.")
    ] = None,
    scale: Scale = None,
    weights: Weights = True,
    device: Device = "auto",
    jobs: Jobs = None,
    out: Out = Path("results"),
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Crosses attacks with defenses and prints the leaderboard.

    Finished runs are stored; the same command again computes only what is missing. Unless a config
    or an option says otherwise: targeted against pseudo-history on digits with its own model, end
    to end, 3 seeds, 10 epochs, the protocol's own recipes, attacked validation labels, reference.
    """
    from labelattack.benchmark.spec import read_experiment
    from labelattack.errors import ParameterError

    if scale is not None and config is None:
        raise ParameterError(f"--scale needs --config, got --scale {scale} alone")
    given = read_experiment(config, scale) if config is not None else {}
    run_experiment(
        experiment_from(
            given,
            str(config or ""),
            attacks=attack,
            defenses=defense,
            datasets=dataset,
            model=model,
            protocol=protocol,
            seeds=seeds,
            epochs=epochs,
            lrs=lr,
            batch_sizes=batch_size,
            selection=selection,
            reference=reference,
            micro_batch=micro_batch,
            d_score=d_score,
        ),
        Execution(out, device, jobs, tuple(plugin or ()), weights, retry_failed, dry_run, as_json),
        lambda records: print_boards(records, "json" if as_json else "table"),
    )


@dataclass(frozen=True)
class Execution:
    """Where and how to run, which never changes a number."""

    out: Path
    device: str
    jobs: int | None
    plugins: tuple[str, ...]
    weights: bool
    retry_failed: bool
    dry_run: bool
    as_json: bool


def experiment_from(given: dict[str, Any], origin: str, **options: Any) -> Experiment:
    """The experiment of a file with what the command line overrides."""
    from labelattack.benchmark.spec import experiment
    from labelattack.training.recipe import check_protocol

    experiment(given, origin=origin)
    told = {key: value for key, value in options.items() if value not in (None, [])}
    check_protocol(told.get("protocol", "finetune"))
    return experiment(given | told)


def run_experiment(
    wanted: Experiment, how: Execution, render: Callable[[list[Record]], None]
) -> None:
    """Runs what a store does not hold yet, renders all of it, and says what was done.

    Under ``torchrun``, the processes train each network together and the first one speaks.
    """
    from labelattack.training.device import resolve_device
    from labelattack.training.distributed import leads, team

    with team(resolve_device(how.device)):
        _run_experiment(wanted, how, render if leads() else lambda records: None, leads())


def _run_experiment(
    wanted: Experiment, how: Execution, render: Callable[[list[Record]], None], leads: bool
) -> None:
    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.loading import load
    from labelattack.benchmark.runner import run_grid
    from labelattack.benchmark.store import RecordStore
    from labelattack.datasets import registry as datasets
    from labelattack.defenses import registry as defenses
    from labelattack.training.device import resolve_device

    tell = say if leads else lambda text: None
    load_plugins(list(how.plugins))
    settings = None if wanted.d_score == "none" else d_score_settings(wanted.d_score)
    computed_on = str(resolve_device(how.device))
    grids = wanted.grids()
    for grid in grids:
        for spec in grid.attacks:
            attacks.resolve(spec)
        grid.cells("")  # every name and parameter is checked before a dataset is read
    parts = []
    notes: list[str] = []
    with progress_bars(quiet=how.as_json or not leads) as progress:
        for grid in grids:
            what = f"reading {grid.dataset}"
            progress(what, 0, 1)
            splits = load(str(datasets.resolve(grid.dataset)))
            progress(what, 1, 1)
            notes += splits.warnings
            parts.append(grid.cells(splits.fingerprint))
    for note in notes:
        tell(f"note: {note}")
    cells = [cell for part in parts for cell in part]
    if how.dry_run and not leads:
        return
    if how.dry_run:
        there = (how.out / "store.json").is_file()
        _dry_run(cells, RecordStore(how.out) if there else None, how.as_json)
        return
    store = RecordStore(how.out)
    computed = 0
    try:
        with progress_bars(quiet=how.as_json or not leads) as progress:
            for part in parts:
                computed += run_grid(
                    part,
                    store,
                    device=computed_on,
                    jobs=how.jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1),
                    plugins=tuple(str(Path(path).resolve()) for path in how.plugins),
                    retry_failed=how.retry_failed,
                    d_score=settings,
                    keep_weights=how.weights,
                    progress=progress,
                )
    except KeyboardInterrupt:
        finished = sum(store.get(cell.key) is not None for cell in cells)
        say(
            f"interrupted: {finished} of {len(cells)} cells are in '{how.out}'; "
            "run the same command again to go on"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    records = [record for cell in cells if (record := store.get(cell.key)) is not None]
    failed = [record for record in records if record.status == "failed"]
    render(records)
    if computed:
        stored = len(cells) - computed
        tell(f"computed {computed} of {len(cells)} cells; {stored} were in '{how.out}' already")
    else:
        tell(f"nothing to compute: all {len(cells)} cells were in '{how.out}' already")
    for record in failed:
        cell = record.cell
        pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        tell(f"failed: {pair}, lr {cell.recipe.lr:g}, seed {cell.seed}: {record.reason}")
    if failed:
        raise typer.Exit(EXIT_FAILED_CELLS)


def _dry_run(cells: list[Any], store: Any, as_json: bool) -> None:
    from labelattack.attacks import registry as attacks
    from labelattack.defenses import registry as defenses

    known = {c.key for c in cells if store is not None and store.get(c.key) is not None}
    columns = ("cell", "attack", "defense", "lr", "batch", "seed", "state")
    rows = [
        (
            c.key, c.attack, c.defense, f"{c.recipe.lr:g}", str(c.recipe.batch_size),
            str(c.seed), "stored" if c.key in known else "to compute",
        )
        for c in cells
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
        return
    short = [(k, attacks.short(a), defenses.short(d), *rest) for k, a, d, *rest in rows]
    print_table(f"{len(cells) - len(known)} of {len(cells)} cells to compute", columns, short)
