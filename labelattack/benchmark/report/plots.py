"""Pictures of how mAP falls as labels go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import title, training_labels
from labelattack.benchmark.plan.grid import REFERENCE
from labelattack.defenses import registry as defenses
from labelattack.errors import StoreError
from labelattack.measures._d_score.plots import empty_figure, plain, save_figure
from labelattack.measures._perturbed import PerturbedSummary
from labelattack.measures.request import taken_measures

MARKS = "osD^vPX*"


def draw_curves(path: Path, board: Board) -> None:
    """Writes the picture of [curves_figure][labelattack.benchmark.report.plots.curves_figure].

    Args:
        path: Where the picture goes, ``.png``, ``.pdf`` or ``.svg``.
        board: A board that has curves.

    Raises:
        StoreError: If the board has no curve, or the picture cannot be written.
    """
    save_figure(curves_figure(board), path)


def curves_figure(board: Board) -> Any:
    """Draws mAP against removal rate, a panel an attack and a line a defense; the paper's Figure 2.

    Bars are 95 % intervals over seeds; the dashed line is the reference on all known labels.

    Args:
        board: A board that has curves.

    Returns:
        A matplotlib figure.

    Raises:
        StoreError: If the board has no curve.
    """
    families = list(dict.fromkeys(curve.attack for curve in board.curves))
    if not families:
        raise StoreError(
            "curves must come from an attack with a rate, such as targeted or random, got none"
        )
    figure = empty_figure(4.6 * len(families), 4)
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)
    names = sorted({curve.defense for curve in board.curves})
    reference = next((r for r in board.rows if (r.attack, r.defense) == ("none", REFERENCE)), None)
    for panel, family in zip(panels[0], families, strict=True):
        if reference is not None and reference.map is not None:
            panel.axhline(reference.map, color="0.4", linestyle="--", linewidth=1)
            panel.text(
                0,
                reference.map,
                f" {training_labels(board.rows)} labels",
                va="bottom",
                fontsize=8,
                color="0.3",
            )
        for curve in board.curves:
            if curve.attack == family:
                _draw(panel, names, curve.defense, curve.rates, curve.maps, curve.intervals)
        share = getattr(attacks.get(family.partition(":")[0]), "rate_of", "labels")
        panel.set_title(plain(attacks.short(family, keep=())), fontsize=10)
        panel.set_xlabel(f"share of {share} removed")
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("test mAP (points)")
    panels[0][0].legend(fontsize=8, loc="lower left")
    figure.suptitle(plain(title(board)), fontsize=10)
    return figure


def draw_pixels(path: Path, board: Board) -> None:
    """Draws what changed pixels leave of mAP against the share of positives removed.

    Above mAP in points, on test images as they are, attacked, and corrupted; below the share that
    is left of what was learned, 1 being clean mAP and 0 chance. A line a defense and kind of attack
    on labels, bars are 95 % intervals over seeds, dashed lines are the reference.

    Args:
        path: Where the picture goes, ``.png``, ``.pdf`` or ``.svg``.
        board: A board of rows with evasion or corruption.

    Raises:
        StoreError: If no row has any, or the picture cannot be written.
    """
    shakes = perturbed_measures(board)
    if not shakes:
        raise StoreError(
            "a picture of changed pixels needs runs of bench --robustness evasion,corruption, got "
            "none"
        )
    figure = empty_figure(4.4 * (1 + len(shakes)), 7)
    panels = figure.subplots(2, 1 + len(shakes), sharex=True, sharey="row", squeeze=False)
    rows = [row for row in board.rows if row.positives_removed is not None]
    names = sorted({row.defense for row in rows if row.attack != "none"})
    _draw_rows(panels[0][0], names, [(row, row.map, row.interval) for row in rows])
    panels[0][0].set_title("test images as they are", fontsize=10)
    for number, name in enumerate(shakes, 1):
        above, below = panels[0][number], panels[1][number]
        found = [
            (row, of) for row in rows if isinstance(of := row.measured.get(name), PerturbedSummary)
        ]
        _draw_rows(above, names, [(row, of.map, of.interval) for row, of in found])
        _draw_rows(below, names, [(row, of.kept, of.kept_interval) for row, of in found])
        how = found[0][1].how.partition(", ")[2]
        above.set_title(fill(plain(f"{name}: {how}"), 50), fontsize=8)
        below.axhline(0, color="0.8", linewidth=1)
        below.set_xlabel("share of positives removed")
    panels[0][0].set_ylabel("mAP (points)")
    panels[0][0].tick_params(labelbottom=True)
    panels[1][1].set_ylabel("share of what was learned that is left")
    panels[1][1].tick_params(labelleft=True)
    panels[1][0].axis("off")
    panels[1][0].legend(*panels[0][0].get_legend_handles_labels(), loc="center", fontsize=9)
    figure.suptitle(plain(title(board)), fontsize=10)
    save_figure(figure, path)


def perturbed_measures(board: Board) -> list[str]:
    """Names of the measures on perturbed test images that a row of a board has."""
    return [
        name
        for name in taken_measures()
        if any(isinstance(row.measured.get(name), PerturbedSummary) for row in board.rows)
    ]


_BESIDE = 0.008  # of the axis of shares


def _draw_rows(
    panel: Any, names: Sequence[str], points: Sequence[tuple[Row, float | None, float | None]]
) -> None:
    """Lines over the rates of one kind of attack; hollow marks for one that has no others."""
    lines: dict[tuple[str, str], list[tuple[float, float | None, float | None]]] = defaultdict(list)
    for row, value, half in points:
        if (row.attack, row.defense) == ("none", REFERENCE):
            panel.axhline(
                value,
                color="0.4",
                linestyle="--",
                linewidth=1,
                label=f"{training_labels([row])} labels",
            )
        elif row.defense in names:
            family = row.attack.partition(":")[0], row.defense
            lines[family].append((row.positives_removed or 0.0, value, half))
    for (attack, defense), members in sorted(lines.items()):
        shares, values, halves = zip(*sorted(members, key=lambda point: point[0]), strict=True)
        # A little beside each other, so that their intervals can be told apart.
        shift = _BESIDE * (names.index(defense) - (len(names) - 1) / 2)
        beside = [share + shift for share in shares]
        _draw(panel, names, defense, beside, values, halves, f" under {attack}", len(members) > 1)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3)


def _draw(
    panel: Any,
    names: Sequence[str],
    defense: str,
    x: Sequence[float],
    y: Sequence[float | None],
    halves: Sequence[float | None],
    under: str = "",
    joined: bool = True,
) -> None:
    """Values of one defense with their intervals; each has the same colour and mark everywhere."""
    number = names.index(defense)
    panel.errorbar(
        x,
        y,
        yerr=[half or 0.0 for half in halves],
        label=plain(defenses.short(defense)) + under,
        color=f"C{number % 10}",
        marker=MARKS[number % len(MARKS)],
        markerfacecolor=None if joined else "none",
        markersize=5,
        capsize=2,
        linestyle="-" if joined else "none",
        linewidth=1.5,
    )
