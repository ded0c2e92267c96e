"""Pictures of certified mAP, with what attacks really took above it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import row_name, title
from labelattack.benchmark.report.plots import MARKS
from labelattack.errors import StoreError
from labelattack.measures._d_score.plots import empty_figure, plain, save_figure
from labelattack.measures.certified import CertifiedSummary

_COLUMNS = 3


class Attacked(NamedTuple):
    """Test mAP of a defense under one kind of attack, against the images that it changes.

    Attributes:
        defense: Name of the defense.
        attack: Kind of attack.
        images: Mean number of training images whose labels are changed, ascending.
        rows: Rows with the mAP.
    """

    defense: str
    attack: str
    images: list[float]
    rows: list[Row]


def certificate_of(row: Row) -> CertifiedSummary | None:
    """Certified mAP of a row; None if it has none."""
    found = row.measured.get("certified")
    return found if isinstance(found, CertifiedSummary) else None


def certified_rows(board: Board) -> list[tuple[Row, CertifiedSummary]]:
    """Rows of a board that have a certificate, with it."""
    found = ((row, certificate_of(row)) for row in board.rows)
    return [(row, of) for row, of in found if of is not None]


def attacked_points(board: Board) -> list[Attacked]:
    """What attacks really took, beside the certificate of the same defense on labels before them.

    Args:
        board: A board; rows without a certificate do not tell how many images were changed.
    """
    before = {row.defense for row, _ in certified_rows(board) if row.attack == "none"}
    families: dict[tuple[str, str], list[tuple[float, Row]]] = defaultdict(list)
    for row, of in certified_rows(board):
        known = of.images_changed is not None and row.map is not None
        if row.attack != "none" and row.defense in before and known:
            kind = row.attack.partition(":")[0]
            families[row_name(row), kind].append((of.images_changed or 0.0, row))
    found = []
    for (defense, kind), points in sorted(families.items()):
        images, rows = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        found.append(Attacked(defense, kind, list(images), list(rows)))
    return found


def draw_certified(path: Path, board: Board) -> None:
    """Draws certified mAP against the number of training images whose labels may change.

    A panel for each attack, whose labels the certificate starts from, and a line with its 95 % band
    over seeds for each defense. Where labels are as they were, marks above show what attacks on
    them took, at the number of images that they changed. The dotted line is chance.

    Args:
        path: Where the picture goes, ``.png``, ``.pdf`` or ``.svg``.
        board: A board of rows with measure ``certified``.

    Raises:
        StoreError: If no row has any, or the picture cannot be written.
    """
    rows = certified_rows(board)
    if not rows:
        raise StoreError(
            "a picture of certificates needs runs of bench --measures certified --protocol "
            "linear:parts=50, got none"
        )
    kinds = list(dict.fromkeys(row.attack for row, _ in rows))
    names = sorted({row_name(row) for row, _ in rows})
    columns = min(len(kinds), _COLUMNS)
    lines = -(-len(kinds) // columns)
    figure = empty_figure(1.2 + 4.2 * columns, 0.4 + 4.0 * lines)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for empty in panels[len(kinds) :]:
        empty.axis("off")
    for panel, kind in zip(panels, kinds, strict=False):
        for row, of in rows:
            if row.attack == kind:
                _draw_curve(panel, names, row, of)
        if kind == "none":
            for points in attacked_points(board):
                _draw_attacked(panel, names, points)
        panel.axhline(rows[0][1].chance, color="0.5", linestyle=":", linewidth=1)
        panel.set_xscale("symlog", linthresh=1)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlim(left=0)
        panel.set_ylim(0, 100)
        given = "labels as they are" if kind == "none" else f"labels left by {attacks.short(kind)}"
        panel.set_title(plain(given), fontsize=10)
        panel.set_xlabel("training images whose labels are changed")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7, loc="lower left")
    for first in panels[::columns]:
        first.set_ylabel("test mAP (points)")
    figure.suptitle(plain(title(board)), fontsize=10)
    save_figure(figure, path)


def _draw_curve(panel: Any, names: Sequence[str], row: Row, of: CertifiedSummary) -> None:
    name, changed = row_name(row), range(len(of.curve))
    colour = f"C{names.index(name) % 10}"
    panel.plot(changed, of.curve, color=colour, linewidth=1.5, label=plain(f"{name}, certified"))
    halves = [half or 0.0 for half in of.intervals]
    low = [value - half for value, half in zip(of.curve, halves, strict=True)]
    high = [value + half for value, half in zip(of.curve, halves, strict=True)]
    panel.fill_between(changed, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_attacked(panel: Any, names: Sequence[str], points: Attacked) -> None:
    kinds = sum(map(ord, points.attack)) % len(MARKS)
    panel.errorbar(
        points.images,
        [row.map for row in points.rows],
        yerr=[row.interval or 0.0 for row in points.rows],
        color=f"C{names.index(points.defense) % 10}",
        marker=MARKS[kinds],
        markersize=4,
        markerfacecolor="none",
        linewidth=0.8,
        linestyle="--",
        capsize=2,
        label=plain(f"{points.defense} under {points.attack}"),
    )
