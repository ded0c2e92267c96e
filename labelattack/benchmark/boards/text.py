"""Texts of a board's numbers and of its title."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.keys import BoardKey, PairKey
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.models import registry as models
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.benchmark.boards.curves import Curve
    from labelattack.benchmark.boards.leaderboard import Board
    from labelattack.benchmark.boards.row import Row


def rank_text(rank: tuple[int, int]) -> str:
    """``1`` or ``1-3``."""
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}-{rank[1]}"


def _each(joined: str, registry: Registry[Any]) -> str:
    return " | ".join(map(registry.short, joined.split(" | ")))


def selection_text(joined: str) -> str:
    """How epochs and recipes were chosen; of a mixed board, all ways."""
    ways = joined.split(" | ")
    on = [way for way in ways if way != "last"]
    told = [f"{' | '.join(on)} validation labels"] if on else []
    return " | ".join(told + ["last epoch"] * ("last" in ways))


def title(board: Board | BoardKey) -> str:
    """Title of a board: the settings that its rows share."""
    return " · ".join(title_parts(board))


def title_parts(board: Board | BoardKey) -> list[str]:
    """Parts of a board's title, the dataset first."""
    on = _each(board.dataset, datasets)
    named = board.dataset.partition(":")[0] not in datasets.names()
    parts = [
        f"{on} ({board.fingerprint})" if named else on,
        *([board.limit] if board.limit else []),
        _each(board.model, models),
        board.protocol,
        "mixed epochs" if board.epochs is None else f"{board.epochs} epochs",
        selection_text(board.selection),
    ]
    if board.budget:
        parts.append(f"budget {board.budget}")
    if board.labels != "removed":
        parts.append(f"{board.labels} labels")
    if "versions" in getattr(board, "mixed", ()):
        parts.append(f"versions {board.versions}")
    return parts


def training_labels(rows: Iterable[Row]) -> str:
    """Name of the labels that the reference sees: ``full``, or ``known`` where some are missing."""
    return "full" if all(row.known_share is None for row in rows) else "known"


def test_labels(rows: Sequence[Row]) -> str:
    """Name of the labels that mAP counts: ``clean``, or what they are where some are missing."""
    if any(row.assumed_share is not None for row in rows):
        return "positive-only"
    return "clean" if all(row.counted_share is None for row in rows) else "known"


def row_name(row: Row | Curve) -> str:
    """Defense of a row or curve as people read it, with what else tells it apart."""
    defense = defenses.short(row.defense)
    return f"{defense} ({row.variant})" if row.variant else defense


def row_title(pair: PairKey) -> str:
    """``an under targeted:rate=0.4``."""
    return f"{defenses.short(pair.defense)} under {attacks.short(pair.attack)}"


def some(names: Iterable[str]) -> str:
    """The first of several names, and how many more there are."""
    first, *rest = dict.fromkeys(names)
    return f"{first} and {len(rest)} more" if rest else first
