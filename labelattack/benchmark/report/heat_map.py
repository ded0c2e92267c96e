"""Heat map of a board: mAP of each defense under each attack, beside the best of that attack."""

from __future__ import annotations

from dataclasses import dataclass

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.row import Row
from labelattack.benchmark.boards.text import row_name

LEAST = 2
"""Smallest numbers of attacks beside ``none`` and of defenses that make a heat map."""


@dataclass(frozen=True)
class HeatMap:
    """Rows of a board by defense and attack.

    Attributes:
        attacks: Attacks as people read them, ``none`` first, then worst cases; the columns.
        defenses: Defenses as people read them; the rows.
        rows: Index of the board's row, ``[defenses][attacks]``; None where there is none with mAP.
        behind: Points of mAP behind the best of the column, of the same shape; an oracle is never
            the best, and negative where it is ahead.
        means: Mean mAP of each defense over its attacks, in points, without ``none`` and worst
            cases.
        failed: Whether cells failed and none finished, of the same shape.
        missing: How many of these attacks each defense lacks; those that lack any are last.
    """

    attacks: list[str]
    defenses: list[str]
    rows: list[list[int | None]]
    behind: list[list[float | None]]
    failed: list[list[bool]]
    means: list[float]
    missing: list[int]


def heat_map(board: Board) -> HeatMap | None:
    """Arranges the rows of a board by defense and attack.

    Args:
        board: The board.

    Returns:
        Its heat map, the defense with the highest mean over attacks first; None if fewer than two
        attacks beside ``none`` or fewer than two defenses have results.
    """
    found: dict[tuple[str, str], dict[str, int]] = {}
    failed = {(r.defense, r.variant, r.attack) for r in board.rows if r.map is None and r.failed}
    for number, row in enumerate(board.rows):
        if row.map is not None:
            found.setdefault((row.defense, row.variant), {})[row.attack] = number
    worst = {row.attack for row in board.rows if row.worst_of}
    found = {defense: own for defense, own in found.items() if own.keys() - {"none", *worst}}
    there = {attack for own in found.values() for attack in own}
    columns = [a for a in dict.fromkeys(row.attack for row in board.rows) if a in there]
    columns.sort(key=lambda attack: (attack != "none", attack not in worst))  # stable
    attacked = [attack for attack in columns if attack not in {"none", *worst}]
    if len(attacked) < LEAST or len(found) < LEAST:
        return None
    maps = [row.map for row in board.rows]
    best = {attack: _best(board.rows, found, attack) for attack in columns}
    lines = []
    for defense, own in found.items():
        values = [value for a in attacked if a in own and (value := maps[own[a]]) is not None]
        lines.append((len(attacked) - len(values), sum(values) / len(values), defense, own))
    lines.sort(key=lambda line: (line[0], -line[1]))
    rows = [[own.get(attack) for attack in columns] for _, _, _, own in lines]
    return HeatMap(
        # At a budget, the rates of the attacks say nothing.
        attacks=[attacks.short(a, keep=() if board.budget else ("rate",)) for a in columns],
        defenses=[row_name(board.rows[next(iter(own.values()))]) for _, _, _, own in lines],
        rows=rows,
        behind=[
            [
                None if n is None else _difference(best[attack], maps[n])
                for attack, n in zip(columns, row, strict=True)
            ]
            for row in rows
        ],
        failed=[[(*defense, a) in failed for a in columns] for _, _, defense, _ in lines],
        means=[mean for _, mean, _, _ in lines],
        missing=[missing for missing, _, _, _ in lines],
    )


def _best(
    rows: list[Row], found: dict[tuple[str, str], dict[str, int]], attack: str
) -> float | None:
    """Highest mAP under an attack of a defense that is no oracle; None if there is none."""
    numbers = [own[attack] for own in found.values() if attack in own]
    values = [
        value
        for n in numbers
        if (value := rows[n].map) is not None
        and not any(note.startswith("oracle") for note in rows[n].notes)
    ]
    return max(values, default=None)


def _difference(best: float | None, value: float | None) -> float | None:
    return None if best is None or value is None else best - value
