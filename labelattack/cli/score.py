"""The score command."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._completion import names_of
from labelattack.cli._console import (
    AsJson,
    Device,
    DScoreOption,
    Jobs,
    Plugins,
    load_plugins,
    print_table,
    progress_bars,
    say,
    stored_records,
)

if TYPE_CHECKING:
    from labelattack.benchmark.execution.score import Scored


def score(
    source: Annotated[Path, typer.Argument(help="Store written by bench, or a weights file.")],
    cell: Annotated[
        list[str] | None, typer.Option(help="Key of a run, or how it begins; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a store, the runs of this seed.")] = 0,
    dataset: Annotated[
        str,
        typer.Option(
            help="Of a weights file: on which dataset.", autocompletion=names_of("datasets")
        ),
    ] = "digits",
    model: Annotated[
        str | None,
        typer.Option(
            help="Of a weights file: which model; default: the dataset's.",
            autocompletion=names_of("models"),
        ),
    ] = None,
    d_score: DScoreOption = None,
    grid: Annotated[
        list[int] | None,
        typer.Option(help="Other grid to try; repeatable, 0 for none. Default: 3 and 5."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures; default: next to the source.")
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Shows mAP, and where trained models look: D-Score, its sensitivity, and pictures.

    Scores the selected run of each attack and defense in a store, or one file of weights, also of a
    classifier of torchvision or timm that was trained elsewhere.

    For example: `labelattack score results --seed 0`
    """
    from labelattack.benchmark.execution import score as scores
    from labelattack.measures._d_score.plots import draw_scatter
    from labelattack.measures.request import d_score_of
    from labelattack.process_cache import forget
    from labelattack.training.compute import Compute
    from labelattack.training.hardware import resolve_device, single_thread

    forget()
    load_plugins(plugin)
    settings = None if d_score == "none" else d_score_of(d_score or "default")
    computed_on = str(resolve_device(device))
    single_thread()
    out = pictures or (
        source.with_name(source.name + ".pictures") if source.is_file() else source / "pictures"
    )
    if source.is_file():
        networks = [scores.network_of_file(source, dataset, model)]
    else:
        networks = scores.networks_of_store(source, cell or [], seed)
    processes = jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1)
    plugins = tuple(str(Path(path).resolve()) for path in plugin or ())
    found = []
    with progress_bars(quiet=as_json) as progress:
        compute = Compute(computed_on, processes, plugins, progress)
        for scored in scores.score_networks(networks, settings, compute, grid):
            _draw(out, scored)
            found.append(scored.scoring)
    if not source.is_file() and settings is not None:
        for number, (title, points) in enumerate(_points(source)):
            draw_scatter(out / f"scatter{number or ''}.png", points, title)
    if as_json:
        typer.echo("[" + ",\n".join(s.model_dump_json(indent=1) for s in found) + "]")
    else:
        _print_scores(found)
        if source.is_file():
            _print_pixels(networks[0].model)
    if any(scoring.diagnosis for scoring in found):
        say(f"pictures are in '{out}'")


def _draw(folder: Path, scored: Scored) -> None:
    from labelattack.measures._d_score.plots import draw_deletions, draw_distributions

    scoring, looks, test, classes = scored
    name, found = scoring.name, scoring.diagnosis
    if found is None or looks is None:
        return
    file = "-".join(re.findall(r"[\w.]+", name))
    boxes = scoring.boxes.boxes if scoring.boxes else None
    draw_distributions(folder / f"{file}.look.png", found, name, boxes=boxes)
    draw_deletions(folder / f"{file}.deletion.png", looks, test, classes, found, name)


def _points(folder: Path) -> list[tuple[str, list[Any]]]:
    """Points of the scatter plot, board by board."""
    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.boards.leaderboard import boards
    from labelattack.benchmark.boards.text import row_name, title
    from labelattack.measures._d_score.plots import Point
    from labelattack.measures.d_score import DScoreSummary

    found = []
    for board in boards(stored_records(folder)):
        points = [
            Point(
                attacks.short(row.attack),
                row_name(row),
                summary.robustness,
                summary.fitness,
                summary.robustness_interval,
                summary.fitness_interval,
            )
            for row in board.rows
            if isinstance(summary := row.measured.get("d-score"), DScoreSummary)
            and summary.robustness is not None
            and summary.fitness is not None
        ]
        if points:
            found.append((title(board), points))
    return found


def _print_scores(found: list[Any]) -> None:
    from labelattack.metrics.text import with_limits

    rows = [(s.name, f"{100 * s.test.map:.1f}") for s in found]
    print_table("all test images", ("network", "mAP in points"), rows)
    for note in dict.fromkeys(s.note for s in found if s.note):
        typer.echo(note)
    looked = [s for s in found if s.diagnosis is not None]
    if not looked:
        return
    boxes = any(s.boxes is not None for s in looked)
    columns = ["network", "robustness", "fitness", "D-Score"]
    columns += ["fitness to boxes", "F agrees with boxes"] * boxes
    first = looked[0].diagnosis
    about = f"{first.images} test images, {first.rows} x {first.columns} grid"
    changes = first.settings.changes()
    print_table(
        f"{about}{', ' + changes if changes else ''}", tuple(columns), list(map(_looks, looked))
    )
    typer.echo(
        "robustness: distance of attention from uniform, lower is better; fitness: 1 - distance of "
        "attention from\nfeatures; D-Score: their difference. 95 % bootstrap intervals over images."
    )
    lines = [
        (s.name, v.grid, v.distance, *map(with_limits, (v.robustness, v.fitness, v.d_score)))
        for s in looked
        for v in s.sensitivity
    ]
    print_table(
        "sensitivity", ("network", "grid", "distance", "robustness", "fitness", "D-Score"), lines
    )


def _print_pixels(model: str) -> None:
    """How pixels became the input of a network that was trained elsewhere."""
    from labelattack.models import create

    size, mean, std, _ = create(model).preprocessing
    resized = "of their own size" if size is None else f"squashed to {size} x {size}"
    typer.echo(f"images: {resized}, pixels in [0, 1] with mean {mean} and std {std}")


def _looks(scoring: Any) -> list[str]:
    """A row of D-Scores."""
    from labelattack.metrics.text import with_limits

    d, boxes = scoring.diagnosis, scoring.boxes
    row = [
        scoring.name,
        with_limits(d.robustness, d.robustness_interval),
        with_limits(d.fitness, d.fitness_interval),
        with_limits(d.d_score, d.d_score_interval),
    ]
    if boxes is not None:
        row += [with_limits(boxes.fitness), with_limits(boxes.agreement)]
    return row
