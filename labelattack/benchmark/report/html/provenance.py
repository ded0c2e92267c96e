"""Provenance panel of a board."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.leaderboard import Board
from labelattack.benchmark.boards.text import selection_text
from labelattack.benchmark.store.failures import failed_of
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses

FACTS_OF_A_KIND = 20
"""Largest number of commits, machines and so on that are listed."""


def provenance_of(board: Board, records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Facts about how a board was computed, each with its values.

    Args:
        board: The board.
        records: The records it sums up.
    """
    done = [record for record in records if record.status == "done"]
    created = sorted(record.created for record in records if record.created)
    memory = [record.peak_memory for record in records if record.peak_memory is not None]
    facts = {
        "dataset": board.dataset.split(" | "),
        "images": [board.limit] if board.limit else [],
        "fingerprint": board.fingerprint.split(" | "),
        "model": board.model.split(" | "),
        "protocol": [board.protocol],
        "epochs": ["mixed" if board.epochs is None else str(board.epochs)],
        "selection": [selection_text(board.selection)],
        "component versions": board.versions.split(" | "),
        "records": [f"{len(done)} finished, {len(records) - len(done)} failed"],
        "libraries": [f"{name} {', '.join(found)}" for name, found in board.libraries.items()],
        "commits": _kinds(record.commit for record in records),
        "machines": _kinds(record.machine for record in records),
        "devices": _kinds(record.device for record in records),
        "computed": list(dict.fromkeys([created[0], created[-1]])) if created else [],
        "wall time": [duration(sum(record.seconds for record in records))],
        "CPU time": [duration(sum(record.cpu_seconds for record in records))],
        "peak memory": [f"{max(memory):.0f} MiB"] if memory else [],
    }
    return [(name, values) for name, values in facts.items() if values]


def failures(records: Iterable[Record]) -> dict[str, Sequence[Any]]:
    """Failed cells: headings under ``columns``, and a row for each under ``cells``."""
    failed = failed_of(records)
    further = (name for record in failed for name in record.cell.recipe.further())
    names = dict.fromkeys(["lr", "batch_size", *further])
    headings = ["learning rate", *(name.replace("_", " ") for name in names if name != "lr")]
    return {
        "columns": ["attack", "defense", "seed", "reason", *headings],
        "cells": [
            [
                attacks.short(record.cell.attack),
                defenses.short(record.cell.defense),
                record.cell.seed,
                record.reason,
                *(getattr(record.cell.recipe, name) for name in names),
            ]
            for record in failed
        ],
    }


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``4.2 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _kinds(values: Iterable[str | None]) -> list[str]:
    found = sorted({value for value in values if value})
    if len(found) > FACTS_OF_A_KIND:
        found[FACTS_OF_A_KIND:] = [f"and {len(found) - FACTS_OF_A_KIND} more"]
    return found
