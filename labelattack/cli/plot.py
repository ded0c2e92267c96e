"""The plot command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from labelattack.cli._console import one_of, say, stored_records
from labelattack.cli._options import Results

Plot = Literal["curves", "pixels"]


def plot(
    what: Annotated[
        Plot,
        typer.Argument(
            help="curves: mAP against the share of labels removed; pixels: mAP under evasion and "
            "corruption (see bench --robustness) against the same share.",
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
    from labelattack.benchmark.report.plots import draw_curves, draw_pixels, perturbed_measures
    from labelattack.defenses import registry as defenses
    from labelattack.errors import StoreError

    chosen = {str(defenses.resolve(name)) for name in defense or ()}
    draw, needed = {
        "curves": (draw_curves, "an attack with a rate, such as targeted:rate=0.4"),
        "pixels": (draw_pixels, "bench --robustness evasion,corruption"),
    }[what]
    drawn = [
        board
        for board in boards(stored_records(results))
        if (board.curves if what == "curves" else perturbed_measures(board))
    ]
    if not drawn:
        raise StoreError(f"'{results}' must hold runs of {needed}, got none")
    path = out or results / "pictures" / f"{what}.png"
    for number, board in enumerate(drawn):
        curves = [curve for curve in board.curves if not chosen or curve.defense in chosen]
        rows = [r for r in board.rows if not chosen or r.attack == "none" or r.defense in chosen]
        numbered = path.with_name(f"{path.stem}{number or ''}{path.suffix}")
        draw(numbered, board.model_copy(update={"curves": curves, "rows": rows}))
        say(f"drew '{numbered}'")
