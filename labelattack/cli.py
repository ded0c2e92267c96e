"""The command line: parse, call, render. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelattack.errors import LabelAttackError, unknown

if TYPE_CHECKING:
    from labelattack.benchmark.leaderboard import Board
    from labelattack.benchmark.store import Record
    from labelattack.registry import Declaration, Registry

EXIT_FAILED_CELLS, EXIT_ERROR, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Python file to load.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")]
DScoreOption = Annotated[
    str,
    typer.Option(
        "--d-score",
        metavar="KEY=VALUE,...",
        help="How to measure it, e.g. grid=4,evidence=map,features=boxes; default: see docs.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def main() -> None:
    """Entry point: every error becomes one line and an exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    try:
        app(arguments, prog_name="labelattack")
    except LabelAttackError as error:
        if debug:
            raise
        _say(f"error: {error}")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
        sys.exit(EXIT_BUG)


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What remains of a multi-label classifier when part of its training labels disappears?

    Crosses **attacks** (which labels go) with **defenses** (which loss learns from the rest) and
    reports test mAP against a reference that saw every label.

    Try it, with no download:

        labelattack bench --attack targeted --defense pseudo-history --defense an

    Errors exit with 2 and one line; --debug adds the traceback.
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("labelattack"))
        raise typer.Exit


@app.command()
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

    _load_plugins(plugin)
    check_protocol(protocol)
    settings = None if d_score == "none" else _d_score_settings(d_score)
    resolved = datasets.resolve(dataset)
    grid = _validated(
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
        _say(f"note: {note}")
    cells = grid.cells(splits.fingerprint)
    if dry_run:
        _dry_run(cells, RecordStore(out) if (out / "store.json").is_file() else None, as_json)
        return
    store = RecordStore(out)
    processes = jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1)
    try:
        with _progress(quiet=as_json) as progress:
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
        _say(
            f"interrupted: {there} of {len(cells)} cells are in '{out}'; "
            "run the same command again to go on"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    records = [record for cell in cells if (record := store.get(cell.key)) is not None]
    failed = [record for record in records if record.status == "failed"]
    _print_boards(records, "json" if as_json else "table")
    if computed:
        stored = len(cells) - computed
        _say(f"computed {computed} of {len(cells)} cells; {stored} were in '{out}' already")
    else:
        _say(f"nothing to compute: all {len(cells)} cells were in '{out}' already")
    for record in failed:
        cell = record.cell
        pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        _say(f"failed: {pair}, lr {cell.recipe.lr:g}, seed {cell.seed}: {record.reason}")
    if failed:
        raise typer.Exit(EXIT_FAILED_CELLS)


@app.command()
def score(
    source: Annotated[Path, typer.Argument(help="Store written by bench, or a weights file.")],
    cell: Annotated[
        list[str] | None, typer.Option(help="Key of a run, or how it begins; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a store, the runs of this seed.")] = 0,
    dataset: Annotated[str, typer.Option(help="Of a weights file: on which dataset.")] = "digits",
    model: Annotated[
        str | None, typer.Option(help="Of a weights file: which model; default: the dataset's.")
    ] = None,
    d_score: DScoreOption = "default",
    grid: Annotated[
        list[int] | None,
        typer.Option(help="Other grid to try; repeatable, 0 for none. Default: 3 and 5."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures; default: beside.")
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Shows where trained models look: D-Score with its parts, sensitivity, and pictures.

    Scores the selected run of each attack and defense in a store, or one file of weights.
    """
    from labelattack.benchmark.diagnosing import prepare_d_score, protocol_of, rebuild
    from labelattack.benchmark.loading import load
    from labelattack.benchmark.scoring import score_network, usual_grids
    from labelattack.datasets import registry as datasets
    from labelattack.diagnosis.pictures import draw_deletions, draw_distributions, draw_scatter
    from labelattack.models import registry as models
    from labelattack.models.base import read_weights
    from labelattack.training.device import resolve_device, single_thread

    _load_plugins(plugin)
    settings = _d_score_settings(d_score)
    computed_on = str(resolve_device(device))
    single_thread()
    out = pictures or (
        source.with_name(source.name + ".pictures") if source.is_file() else source / "pictures"
    )
    if source.is_file():
        resolved = str(datasets.resolve(dataset))
        chosen = datasets.get(datasets.resolve(dataset).name).default_model
        networks = [
            (source.stem, resolved, str(models.resolve(model or chosen)), read_weights(source))
        ]
    else:
        networks = _stored_networks(source, cell or [], seed)
    processes = jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1)
    plugins = tuple(str(Path(path).resolve()) for path in plugin or ())
    grids: dict[tuple[str, str], list[int]] = {}
    found = []
    with _progress(quiet=as_json) as progress:
        for on, of, protocol in {(on, of, protocol_of(state)) for _, on, of, state in networks}:
            usual = usual_grids(on, of, settings, device=computed_on)
            grids[on, of] = usual if grid is None else [g for g in grid if g]
            for cells in (settings.grid, *grids[on, of]):
                measured = settings.model_copy(update={"grid": cells})
                prepare_d_score(
                    on, of, protocol, measured, computed_on, processes, plugins, progress
                )
        progress("scored", 0, len(networks))
        for name, on, of, state in networks:
            network = rebuild(on, of, state)
            scoring, looks, test = score_network(
                name, on, of, network, settings, grids=grids[on, of], device=computed_on
            )
            found.append(scoring)
            file = "-".join(re.findall(r"[\w.]+", name))
            boxes = scoring.boxes.boxes if scoring.boxes else None
            draw_distributions(out / f"{file}.look.png", scoring.diagnosis, name, boxes=boxes)
            draw_deletions(
                out / f"{file}.deletion.png", looks, test, load(on).classes, scoring.diagnosis, name
            )
            progress("scored", len(found), len(networks))
    if not source.is_file():
        for number, (title, points) in enumerate(_points(source)):
            draw_scatter(out / f"scatter{number or ''}.png", points, title)
    if as_json:
        typer.echo("[" + ",\n".join(s.model_dump_json(indent=1) for s in found) + "]")
    else:
        _print_scores(found)
    _say(f"pictures are in '{out}'")


@app.command()
def attack(
    labels: Annotated[Path, typer.Argument(help="Clean labels: .csv, .npy or .npz.")],
    out: Annotated[Path, typer.Option(help="Where the attacked labels go: .csv, .npy, .npz.")],
    attack: Annotated[str, typer.Option(help="Attack, e.g. targeted:rate=0.4.")] = "targeted",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same labels, anywhere.")] = 0,
    manifest: Annotated[
        Path | None, typer.Option(help="Where the manifest goes; default: OUT.manifest.json.")
    ] = None,
    array: Annotated[str, typer.Option(help="Name of the matrix in an .npz.")] = "labels",
    encoding: Annotated[
        str, typer.Option(help="Of OUT: signed (1, -1, 0=hidden), missing (1, 0, -1), nan.")
    ] = "signed",
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Attacks a file of 0/1 labels; writes what is left, and a manifest of what was removed."""
    from labelattack.attacks import registry as attacks
    from labelattack.attacks.manifest import manifest as account_of
    from labelattack.errors import LabelError
    from labelattack.labels import LabelTable, read_labels, write_labels

    _load_plugins(plugin)
    chosen = attacks.create(attack)
    table = read_labels(labels, "binary", array=array)
    attacked = chosen(table.labels.values, seed=seed)
    spec = str(attacks.resolve(attack))
    account = account_of(chosen, spec, seed, table.labels.values, attacked)
    write_labels(out, LabelTable(attacked, table.ids, table.classes), encoding)  # type: ignore[arg-type]
    beside = manifest or out.with_name(out.name + ".manifest.json")
    try:
        beside.write_text(account.model_dump_json() + "\n")
    except OSError as error:
        raise LabelError(f"manifest '{beside}' cannot be written: {error}") from error
    if as_json:
        typer.echo(account.model_dump_json(exclude={"removed_per_class", "removed_per_image"}))
        return
    rows = [
        ("attack", account.attack),
        ("images x labels", f"{account.images} x {account.labels}"),
        ("positives removed", _of(account.removed_positives, account.positives)),
        ("negatives removed", _of(account.removed_negatives, account.negatives)),
        (
            "all labels removed (q-hat)",
            _of(
                account.removed_positives + account.removed_negatives,
                account.images * account.labels,
            ),
        ),
        (
            "requested rate",
            f"{account.requested_rate} of {account.rate_of}"
            if account.requested_rate is not None
            else "none",
        ),
        ("images left without a positive", str(account.emptied_images)),
        ("written", f"{out} ({encoding}), {beside}"),
    ]
    _print_table("", ("", ""), rows)


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="attacks, defenses, datasets, models, mutations; default: all."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Lists what is registered, with parameters, defaults and sources."""
    from labelattack import attacks, datasets, defenses, models, mutations

    _load_plugins(plugin)
    kinds: dict[str, Registry[Any]] = {
        "attacks": attacks.registry,
        "defenses": defenses.registry,
        "datasets": datasets.registry,
        "models": models.registry,
        "mutations": mutations.registry,
    }
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    chosen = {k: r.declarations() for k, r in kinds.items() if kind in (None, k)}
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({k: [asdict(d) for d in ds] for k, ds in chosen.items()}, indent=1))
        return
    for name, declarations in chosen.items():
        _print_declarations(name, declarations, verbose=kind is not None)


@app.command()
def show(
    results: Annotated[Path, typer.Argument(help="Store written by bench.")],
    format: Annotated[
        Literal["table", "json", "csv", "markdown"], typer.Option(help="How to print it.")
    ] = "table",
) -> None:
    """Prints the leaderboards of a store."""
    from labelattack.benchmark.store import RecordStore

    _print_boards(list(RecordStore(results, create=False)), format)


def _load_plugins(paths: list[str] | None) -> None:
    from labelattack.registry import load_plugin

    for path in paths or ():
        load_plugin(path)


def _validated(build: Callable[..., Any], **values: Any) -> Any:
    from pydantic import ValidationError

    from labelattack.errors import ParameterError
    from labelattack.registry import broken_rule

    try:
        return build(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ParameterError(f"{first['loc'][0]} {broken_rule(first)}") from None


def _d_score_settings(text: str) -> Any:
    from labelattack.diagnosis.settings import DScoreSettings
    from labelattack.errors import ParameterError
    from labelattack.mutations import registry as mutations
    from labelattack.registry import Spec

    if text == "default":
        return DScoreSettings()
    if "=" not in text:
        raise ParameterError(f"--d-score must be default, none, or key=value,..., got '{text}'")
    given = dict(Spec.parse(f"d-score:{text}").params)
    for name in given:
        if name not in DScoreSettings.model_fields:
            raise unknown("setting of --d-score:", name, DScoreSettings.model_fields)
    if "operator" in given:
        given["operator"] = str(mutations.resolve(str(given["operator"])))
    return _validated(DScoreSettings, **given)


def _stored_networks(folder: Path, keys: list[str], seed: int) -> list[tuple[str, str, str, Any]]:
    """Name, dataset, model and weights of the runs of a store that are wanted."""
    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.leaderboard import selected_runs
    from labelattack.benchmark.store import RecordStore
    from labelattack.defenses import registry as defenses
    from labelattack.errors import StoreError

    store = RecordStore(folder, create=False)
    records = list(store)
    if keys:
        wanted = [r for r in records if any(r.key.startswith(key) for key in keys)]
    else:
        wanted = [r for r in selected_runs(records) if r.cell.seed == seed]
    wanted = [r for r in wanted if r.status == "done"]
    if not wanted:
        which = f"cell {' or '.join(keys)}" if keys else f"seed {seed}"
        raise StoreError(f"'{folder}' must hold a finished run of {which}, got none")
    found = []
    for record in wanted:
        cell, state = record.cell, store.weights(record.key)
        name = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
        if state is None:
            raise StoreError(
                f"scoring {name} (cell {record.key}) needs its weights, which '{folder}' does not "
                "hold; run the same bench command again with --out to a new store, and --weights"
            )
        found.append((f"{name}, seed {cell.seed}", cell.dataset, cell.model, state))
    if len({name for name, *_ in found}) < len(found):
        found = [(f"{n}, {r.key}", *rest) for (n, *rest), r in zip(found, wanted, strict=True)]  # type: ignore[misc]
    return found


def _points(folder: Path) -> list[tuple[str, list[Any]]]:
    """What the scatter shows, board by board."""
    from labelattack.benchmark.leaderboard import boards, short_names, title
    from labelattack.benchmark.store import RecordStore
    from labelattack.diagnosis.pictures import Point

    found = []
    for board in boards(RecordStore(folder, create=False)):
        points = [
            Point(
                *short_names(row),
                row.robustness,
                row.fitness,
                row.robustness_interval,
                row.fitness_interval,
            )
            for row in board.rows
            if row.robustness is not None and row.fitness is not None
        ]
        if points:
            found.append((title(board), points))
    return found


def _print_scores(found: list[Any]) -> None:
    from labelattack.benchmark.leaderboard import with_limits

    rows = []
    for scoring in found:
        d = scoring.diagnosis
        row = [
            scoring.name,
            with_limits(d.robustness, d.robustness_interval),
            with_limits(d.fitness, d.fitness_interval),
            with_limits(d.d_score, d.d_score_interval),
        ]
        if scoring.boxes is not None:
            row += [with_limits(scoring.boxes.fitness), with_limits(scoring.boxes.agreement)]
        rows.append(row)
    columns = ["run", "robustness", "fitness", "D-Score"]
    if any(scoring.boxes is not None for scoring in found):
        columns += ["fitness to boxes", "F agrees with boxes"]
    first = found[0].diagnosis
    about = f"{first.images} test images, {first.rows} x {first.columns} grid"
    changes = first.settings.changes()
    _print_table(f"{about}{', ' + changes if changes else ''}", tuple(columns), rows)
    typer.echo(
        "robustness: distance of attention from uniform, lower is better; fitness: 1 - distance of "
        "attention from\nfeatures; D-Score: their difference. 95 % bootstrap intervals over images."
    )
    lines = [
        (s.name, v.grid, v.distance, *map(with_limits, (v.robustness, v.fitness, v.d_score)))
        for s in found
        for v in s.sensitivity
    ]
    _print_table(
        "sensitivity", ("run", "grid", "distance", "robustness", "fitness", "D-Score"), lines
    )


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
        _print_table(f"{len(cells) - len(known)} of {len(cells)} cells to compute", columns, rows)


def _print_boards(records: list[Record], format: str) -> None:
    from labelattack.benchmark import leaderboard

    found = leaderboard.boards(records)
    if format == "table":
        for board in found:
            _print_board(board)
        if not found:
            _say("no finished cell yet")
        return
    render = {
        "json": leaderboard.to_json,
        "csv": leaderboard.to_csv,
        "markdown": leaderboard.to_markdown,
    }[format]
    typer.echo(render(found))


def _print_board(board: Board) -> None:
    """The columns that differ from row to row; what repeats goes below, once."""
    from labelattack.benchmark.leaderboard import (
        COLUMNS,
        CURVE_COLUMNS,
        cells_of,
        curve_cells,
        title,
    )

    marks: dict[str, str] = {}
    rules: dict[str, str] = {}
    rows = []
    for row in board.rows:
        attack, defense, *numbers, positives, everything, seeds, lr, rule, _ = cells_of(row)
        for note in row.notes:
            marks.setdefault(note, "*" * (len(marks) + 1))
        defense += "".join(f" {marks[note]}" for note in row.notes)
        rows.append(("" if attack in rules else attack, defense, *numbers, seeds, lr))
        rules.setdefault(
            attack,
            f"{positives} of the positives and {everything} of all labels removed; epoch and "
            f"recipe chosen on validation labels, {rule}",
        )
    _print_table(title(board), (*COLUMNS[:8], *COLUMNS[10:12]), rows, rigid=7)
    if board.curves:
        _print_table("robustness to label removal", CURVE_COLUMNS, map(curve_cells, board.curves))
        typer.echo("area: mAP relative to full labels, mean over rates from 0; 1 = nothing lost.")
    typer.echo(
        "mAP in points on clean test labels, mean ± 95 % t-interval over seeds, differences paired."
        "\nrobustness: lower is better; fitness and D-Score: higher is better. They say where the "
        "model looks."
    )
    for note, mark in marks.items():
        typer.echo(f"{mark} {note}")
    for attack, rule in rules.items():
        typer.echo(f"{attack}: {rule}")


def _print_declarations(name: str, declarations: list[Declaration], *, verbose: bool) -> None:
    rows = []
    for d in declarations:
        parameters = "\n".join(
            f"{p.name}={p.default}" + (f"  {p.doc}".replace("``", "'") if verbose and p.doc else "")
            for p in d.parameters
        )
        rows.append((d.name, d.summary, parameters or "-", d.source))
    _print_table(name, (name.rstrip("s"), "what it does", "parameters", "source"), rows, lines=True)


def _print_table(
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[Any],
    *,
    lines: bool = False,
    rigid: int = 0,
) -> None:
    """Prints a table whose first ``rigid`` columns never wrap."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        show_header=any(columns),
        show_lines=lines,
        padding=(0, 1, 0, 0),
    )
    for number, column in enumerate(columns):
        table.add_column(escape(column), overflow="fold", no_wrap=number < rigid)
    for row in rows:
        table.add_row(*map(escape, row))
    # Piped output is not squeezed into the 80 columns that a missing terminal is taken for.
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140).print(table)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars with the time left, on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    tasks: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("elapsed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bars:

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield update


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.2f} %)" if whole else "")


def _say(text: str) -> None:
    """Prints to standard error, so that standard output stays data."""
    typer.echo(text, err=True)
