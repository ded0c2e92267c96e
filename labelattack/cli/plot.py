"""The plot command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelattack.cli._console import one_of, say, stored_records
from labelattack.cli._options import Results

if TYPE_CHECKING:
    from labelattack.benchmark.boards.leaderboard import Board

Plot = Literal["curves", "pixels", "certified"]


def plot(
    what: Annotated[
        Plot,
        typer.Argument(
            help="curves: mAP against the share of labels removed; pixels: mAP under evasion and "
            "corruption (see bench --robustness) against the same share; certified: certified mAP "
            "against the number of images whose labels may change.",
            **one_of("plot", Plot),
        ),
    ],
    results: Results,
    defense: Annotated[
        list[str] | None, typer.Option(help="Only this defense; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture, .png, .pdf or .svg; default: RESULTS/pictures/WHAT.png."),
    ] = None,
) -> None:
    """Draws the boards of a store, one picture per board.

    For example: `labelattack plot curves results`
    """
    from labelattack.benchmark.boards.leaderboard import boards
    from labelattack.defenses import registry as defenses
    from labelattack.errors import StoreError

    chosen = {str(defenses.resolve(name)) for name in defense or ()}
    draw, shown, needed = _plots()[what]
    drawn = [board for board in boards(stored_records(results)) if shown(board)]
    if not drawn:
        raise StoreError(f"'{results}' must hold runs of {needed}, got none")
    path = out or results / "pictures" / f"{what}.png"
    for number, board in enumerate(drawn):
        curves = [curve for curve in board.curves if not chosen or curve.defense in chosen]
        rows = [r for r in board.rows if not chosen or r.attack == "none" or r.defense in chosen]
        numbered = path.with_name(f"{path.stem}{number or ''}{path.suffix}")
        draw(numbered, board.model_copy(update={"curves": curves, "rows": rows}))
        say(f"drew '{numbered}'")


def _plots() -> dict[Plot, tuple[Callable[[Path, Board], None], Callable[[Board], object], str]]:
    """Of each picture how it is drawn, whether a board has it, and runs of what it needs."""
    from labelattack.benchmark.report import certified_plot, plots

    return {
        "curves": (
            plots.draw_curves,
            lambda board: board.curves,
            "an attack with a rate, such as targeted:rate=0.4",
        ),
        "pixels": (
            plots.draw_pixels,
            plots.perturbed_measures,
            "bench --robustness evasion,corruption",
        ),
        "certified": (
            certified_plot.draw_certified,
            certified_plot.certified_rows,
            "bench --protocol linear:parts=50 --measures certified",
        ),
    }
