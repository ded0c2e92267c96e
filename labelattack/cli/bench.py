"""The bench command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._console import (
    EXIT_FAILED_CELLS,
    EXIT_INTERRUPTED,
    load_plugins,
    print_table,
    progress_bars,
    say,
)
from labelattack.cli._options import Config, Crossing, Execution, Scale, Training, expanded
from labelattack.cli.show import print_boards

if TYPE_CHECKING:
    from labelattack.benchmark.plan.config import Experiment
    from labelattack.benchmark.store.record import Record

Weights = Annotated[bool, typer.Option(help="Keep what each run trained.")]


@expanded
def bench(
    crossing: Crossing,
    training: Training,
    execution: Execution,
    config: Config = None,
    scale: Scale = None,
    weights: Weights = True,
) -> None:
    """Crosses attacks with defenses and prints the leaderboard.

    Finished runs are stored; the same command again computes only what is missing. Unless a config
    or an option says otherwise: targeted against pseudo-history on digits with its own model, end
    to end, 3 seeds, 10 epochs, the protocol's own recipes, attacked validation labels, reference.
    """
    wanted = experiment_of(config, scale, crossing, training)
    as_json = execution.as_json
    run_experiment(
        wanted,
        execution,
        lambda records: print_boards(records, "json" if as_json else "table"),
        weights=weights,
    )


def experiment_of(path: Path | None, scale: str | None, *options: Any) -> Experiment:
    """The experiment of a config file, if there is one, with what options override."""
    from labelattack.benchmark.plan.config import read_experiment
    from labelattack.errors import ParameterError

    if scale is not None and path is None:
        raise ParameterError(f"--scale needs --config, got --scale {scale} alone")
    given = read_experiment(path, scale) if path is not None else {}
    told = {key: value for group in options for key, value in asdict(group).items()}
    return experiment_from(given, str(path or ""), **told)


def experiment_from(given: dict[str, Any], origin: str, **options: Any) -> Experiment:
    """The experiment of a file with what the command line overrides."""
    from labelattack.benchmark.plan.config import experiment

    experiment(given, origin=origin)
    told = {key: value for key, value in options.items() if value not in (None, [])}
    return experiment(given | told)


def run_experiment(
    wanted: Experiment,
    how: Execution,
    render: Callable[[list[Record]], None],
    *,
    weights: bool,
) -> None:
    """Runs what a store does not hold yet, renders all of it, and says what was done.

    Under ``torchrun``, the processes train each network together and the first one speaks.
    """
    from labelattack.training.distributed import is_main_process, process_group
    from labelattack.training.hardware import resolve_device

    with process_group(resolve_device(how.device)):
        shown = render if is_main_process() else lambda records: None
        _run_experiment(wanted, how, shown, weights, is_main_process())


def _run_experiment(
    wanted: Experiment,
    how: Execution,
    render: Callable[[list[Record]], None],
    weights: bool,
    leads: bool,
) -> None:
    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.execution.context import load
    from labelattack.benchmark.execution.executors import registry as executors
    from labelattack.benchmark.execution.scheduler import run_selected
    from labelattack.benchmark.execution.task import RunOptions
    from labelattack.benchmark.store.store import RecordStore
    from labelattack.benchmark.store.trackers import Trackers
    from labelattack.datasets import registry as datasets
    from labelattack.process_cache import forget
    from labelattack.training.hardware import resolve_device

    tell = say if leads else lambda text: None
    forget()
    load_plugins(how.plugin)
    where, mirrors = executors.create(how.executor), Trackers(how.tracker or [])
    computed_on = str(resolve_device(how.device))
    job = RunOptions(
        device=computed_on,
        measures=wanted.request(),
        keep_weights=weights,
        plugins=tuple(str(Path(path).resolve()) for path in how.plugin or ()),
    )
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
            splits.read_contents(progress)
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
        with mirrors, progress_bars(quiet=how.as_json or not leads) as progress:
            for part in parts:
                computed += run_selected(
                    part,
                    store,
                    job,
                    jobs=how.jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1),
                    executor=where,
                    retry_failed=how.retry_failed,
                    progress=progress,
                    finished=mirrors.record if how.tracker else None,
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
    for line in _failures(failed):
        tell(f"failed: {line}")
    if failed:
        tell("run the same command with --retry-failed to try them again")
        raise typer.Exit(EXIT_FAILED_CELLS)


def _failures(failed: list[Record]) -> list[str]:
    """A line for each defense, attack and reason; what is alike is counted."""
    from labelattack.attacks import registry as attacks
    from labelattack.defenses import registry as defenses

    alike: dict[tuple[str, str], list[Record]] = {}
    for record in failed:
        cell = record.cell
        pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        alike.setdefault((pair, record.reason), []).append(record)
    lines = []
    for (pair, reason), records in alike.items():
        first = records[0].cell
        which = f"lr {first.recipe.lr:g}, seed {first.seed}"
        more = f" and {len(records) - 1} more runs" if len(records) > 1 else ""
        lines.append(f"{pair}, {which}{more}: {reason}")
    return lines


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
