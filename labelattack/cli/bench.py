"""The bench command."""

from __future__ import annotations

import json
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
    from labelattack.benchmark.execution.run import Outcome
    from labelattack.benchmark.plan.cell import Cell
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

    For example: `labelattack bench --attack targeted --defense an --defense pseudo-history`
    """
    wanted = experiment_of(config, scale, crossing, training)
    as_json = execution.as_json
    run_and_render(
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
    load_plugins(given.get("plugins"))
    told = {key: value for group in options for key, value in asdict(group).items()}
    return experiment_from(given, str(path or ""), **told)


def experiment_from(given: dict[str, Any], origin: str, **options: Any) -> Experiment:
    """The experiment of a file with what the command line overrides."""
    from labelattack.benchmark.plan.config import experiment

    experiment(given, origin=origin)
    told = {key: value for key, value in options.items() if value not in (None, [])}
    return experiment(given | told)


def run_and_render(
    wanted: Experiment,
    execution: Execution,
    render: Callable[[list[Record]], None],
    *,
    weights: bool,
) -> None:
    """Runs what a store does not hold yet, renders all of it, and sums up the run.

    Under ``torchrun``, the processes train each network together and the main one prints.
    """
    from labelattack.benchmark.execution import run
    from labelattack.training.distributed import is_main_process, process_group
    from labelattack.training.hardware import resolve_device

    how = run.Execution(
        device=execution.device,
        jobs=execution.jobs,
        executor=execution.executor,
        trackers=tuple(execution.tracker or ()),
        plugins=tuple(execution.plugin or ()),
        retry_failed=execution.retry_failed,
        keep_weights=weights,
    )
    with process_group(resolve_device(execution.device)):
        prints = is_main_process()
        quiet = execution.as_json or not prints
        with progress_bars(quiet=quiet) as progress:
            plan = run.plan_experiment(wanted, how, progress=progress)
        for note in plan.notes if prints else ():
            say(f"note: {note}")
        if execution.dry_run:
            if prints:
                _print_plan(plan.states(execution.out), execution.as_json)
            return
        try:
            with progress_bars(quiet=quiet) as progress:
                outcome = run.run_plan(plan, execution.out, how, progress)
        except run.Interrupted as interrupt:
            say(f"interrupted: {interrupt}; run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        if prints:
            render(outcome.records)
            _print_summary(outcome, execution.out)
        if outcome.failed:
            raise typer.Exit(EXIT_FAILED_CELLS)


def _print_summary(outcome: Outcome, folder: Path) -> None:
    from labelattack.benchmark.store.failures import failure_lines

    total = len(outcome.cells)
    if outcome.computed:
        stored = total - outcome.computed
        say(f"computed {outcome.computed} of {total} cells; {stored} were in '{folder}' already")
    else:
        say(f"nothing to compute: all {total} cells were in '{folder}' already")
    for line in failure_lines(outcome.records):
        say(f"failed: {line}")
    if outcome.failed:
        say("run the same command with --retry-failed to try them again")


def _print_plan(states: list[tuple[Cell, bool]], as_json: bool) -> None:
    from labelattack.attacks import registry as attacks
    from labelattack.defenses import registry as defenses

    columns = ("cell", "attack", "defense", "lr", "batch", "seed", "state")
    rows = [
        (
            c.key, c.attack, c.defense, c.recipe.rate_text(), str(c.recipe.batch_size),
            str(c.seed), "stored" if stored else "to compute",
        )
        for c, stored in states
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
        return
    short = [(k, attacks.short(a), defenses.short(d), *rest) for k, a, d, *rest in rows]
    missing = sum(not stored for _, stored in states)
    print_table(f"{missing} of {len(states)} cells to compute", columns, short)
