"""The plot command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from labelattack.cli.common import one_of, say, stored_records
from labelattack.cli.options import Results

Plot = Literal["curves"]


def plot(
    what: Annotated[
        Plot,
        typer.Argument(
            help="curves: mAP against the share of labels removed.", **one_of("plot", Plot)
        ),
    ],
    results: Results,
    defense: Annotated[
        list[str] | None, typer.Option(help="Only this defense; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture, .png, .pdf or .svg; default: RESULTS/pictures/curves.png."),
    ] = None,
) -> None:
    """Draws what a store holds; one picture a board."""
    from labelattack.benchmark.curves import draw_curves
    from labelattack.benchmark.leaderboard import boards
    from labelattack.defenses import registry as defenses
    from labelattack.errors import StoreError

    wanted = {str(defenses.resolve(name)) for name in defense or ()}
    found = [board for board in boards(stored_records(results)) if board.curves]
    if not found:
        raise StoreError(
            f"'{results}' must hold runs of an attack with a rate, such as targeted:rate=0.4, got "
            "none"
        )
    path = out or results / "pictures" / f"{what}.png"
    for number, board in enumerate(found):
        kept = [curve for curve in board.curves if not wanted or curve.defense in wanted]
        numbered = path.with_name(f"{path.stem}{number or ''}{path.suffix}")
        draw_curves(numbered, board.model_copy(update={"curves": kept}))
        say(f"drew '{numbered}'")
