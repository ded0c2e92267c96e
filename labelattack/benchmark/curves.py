"""Pictures of how mAP falls as labels go."""

from __future__ import annotations

from pathlib import Path

from labelattack.attacks import registry as attacks
from labelattack.benchmark.grid import REFERENCE
from labelattack.benchmark.leaderboard import Board
from labelattack.benchmark.tables import title
from labelattack.defenses import registry as defenses
from labelattack.diagnosis.pictures import plain
from labelattack.errors import StoreError

MARKS = "osD^vPX*"


def draw_curves(path: Path, board: Board) -> None:
    """Draws mAP against removal rate, a panel an attack and a line a defense; the paper's Figure 2.

    Bars are 95 % intervals over seeds; the dashed line is the reference on clean labels.

    Args:
        path: Where the picture goes, ``.png``, ``.pdf`` or ``.svg``.
        board: A board that has curves.

    Raises:
        StoreError: If the board has no curve, or the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = list(dict.fromkeys(curve.attack for curve in board.curves))
    if not families:
        raise StoreError(
            "curves must come from an attack with a rate, such as targeted or random, got none"
        )
    figure, panels = pyplot.subplots(
        1, len(families), figsize=(4.6 * len(families), 4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    names = sorted({curve.defense for curve in board.curves})
    reference = next((r for r in board.rows if (r.attack, r.defense) == ("none", REFERENCE)), None)
    for panel, family in zip(panels[0], families, strict=True):
        if reference is not None and reference.map is not None:
            panel.axhline(reference.map, color="0.4", linestyle="--", linewidth=1)
            panel.text(0, reference.map, " clean labels", va="bottom", fontsize=8, color="0.3")
        for curve in board.curves:
            if curve.attack == family:
                number = names.index(curve.defense)
                panel.errorbar(
                    curve.rates,
                    curve.maps,
                    yerr=[half or 0.0 for half in curve.intervals],
                    label=plain(defenses.short(curve.defense)),
                    color=f"C{number % 10}",
                    marker=MARKS[number % len(MARKS)],
                    markersize=5,
                    capsize=2,
                    linewidth=1.5,
                )
        share = getattr(attacks.get(family.partition(":")[0]), "rate_of", "labels")
        panel.set_title(plain(attacks.short(family, keep=())), fontsize=10)
        panel.set_xlabel(f"share of {share} removed")
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("test mAP (points)")
    panels[0][0].legend(fontsize=8, loc="lower left")
    figure.suptitle(plain(title(board)), fontsize=10)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StoreError(f"picture '{path}' cannot be written: {error}") from error
    finally:
        pyplot.close(figure)
