"""Boards: records, selected on validation, summed up over seeds."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from labelattack.attacks import registry as attacks
from labelattack.benchmark.grid import REFERENCE
from labelattack.benchmark.selection import best_on_validation
from labelattack.benchmark.store import Record
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.evaluation.statistics import estimate
from labelattack.models import registry as models


class Row(BaseModel):
    """One attack and defense. mAP and differences in points (0 to 100), shares in [0, 1].

    Attributes:
        attack: Resolved spec.
        defense: Resolved spec.
        seeds: Seeds that finished.
        map: Mean test mAP over seeds; None if no seed finished.
        interval: Half-width of its 95 % Student-t interval; None below two seeds.
        to_reference: Mean difference from the full-label reference, paired by seed.
        to_reference_interval: Half-width of that difference's interval.
        positives_removed: Share of positives removed, mean over seeds.
        labels_removed: Share of all labels removed (the paper's q-hat), mean over seeds.
        requested_rate: The attack's rate.
        learning_rates: Learning rate selected for each seed.
        batch_sizes: Batch size selected for each seed.
        selection_rule: Validation cells that selection saw.
        recipes: Recipes searched for each seed.
        undefined_classes: Classes whose AP is undefined and left out.
        failed: Cells that failed.
        notes: Privileges: oracle, told the number of positives, clean validation labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str
    seeds: int
    map: float | None
    interval: float | None
    to_reference: float | None
    to_reference_interval: float | None
    positives_removed: float | None
    labels_removed: float | None
    requested_rate: float | None
    learning_rates: list[float]
    batch_sizes: list[int]
    selection_rule: str
    recipes: int
    undefined_classes: int
    failed: int
    notes: list[str]


class Board(BaseModel):
    """Rows that may be compared: one dataset, model, protocol, training length and selection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    fingerprint: str
    model: str
    protocol: str
    epochs: int
    selection: str
    versions: str
    rows: list[Row]


def boards(records: Iterable[Record]) -> list[Board]:
    """Makes boards; records that may not be compared go to different ones.

    Args:
        records: Finished and failed records, in any order.

    Returns:
        Boards in the order of their first record, rows by attack and falling mAP.
    """
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        versions = f"dataset {cell.versions['dataset']}, model {cell.versions['model']}"
        groups[
            cell.dataset, cell.fingerprint, cell.model, cell.protocol, str(cell.recipe.epochs),
            cell.selection, versions,
        ].append(record)  # fmt: skip
    return [
        Board(
            dataset=dataset,
            fingerprint=fingerprint,
            model=model,
            protocol=protocol,
            epochs=int(epochs),
            selection=selection,
            versions=versions,
            rows=_rows(group),
        )
        for (dataset, fingerprint, model, protocol, epochs, selection, versions), group in (
            groups.items()
        )
    ]


def _rows(records: list[Record]) -> list[Row]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        # A component's other version is another row, never averaged in.
        groups[cell.attack, cell.defense, cell.versions["attack"], cell.versions["defense"]].append(
            record
        )
    reference: dict[int, float] = {}
    for (attack, defense, *_), group in groups.items():
        if (attack, defense) == ("none", REFERENCE):
            reference = {seed: _points(best) for seed, best in _selected(group).items()}
    rows = [_row(key[0], key[1], group, reference) for key, group in groups.items()]
    return sorted(rows, key=lambda r: (r.attack != "none", r.attack, -(r.map or 0.0), r.defense))


def _row(attack: str, defense: str, group: list[Record], reference: dict[int, float]) -> Row:
    chosen = _selected(group)
    best = list(chosen.values())
    scores = estimate([_points(record) for record in best])
    paired = estimate([_points(r) - reference[s] for s, r in chosen.items() if s in reference])
    removals = [r.removal for r in best if r.removal is not None]
    notes = []
    if any(r.oracle for r in group):
        notes.append("oracle: clean labels")
    if any(r.privileged for r in group):
        notes.append("told positives per image")
    if any(r.cell.selection == "clean" for r in group):
        notes.append("clean validation labels")
    return Row(
        attack=attack,
        defense=defense,
        seeds=scores.seeds,
        map=scores.mean if best else None,
        interval=scores.half_width,
        to_reference=paired.mean if paired.seeds else None,
        to_reference_interval=paired.half_width,
        positives_removed=_mean([r.positives_removed for r in removals]),
        labels_removed=_mean([r.q_hat for r in removals]),
        requested_rate=removals[0].requested_rate if removals else None,
        learning_rates=[r.cell.recipe.lr for r in best],
        batch_sizes=[r.cell.recipe.batch_size for r in best],
        selection_rule=", ".join(sorted({r.selection_rule for r in best})),
        recipes=len({(r.cell.recipe.lr, r.cell.recipe.batch_size) for r in group}),
        undefined_classes=max((r.test.undefined_classes for r in best if r.test), default=0),
        failed=sum(r.status == "failed" for r in group),
        notes=notes,
    )


def _selected(group: list[Record]) -> dict[int, Record]:
    """The record that validation chooses for each seed, seeds ascending."""
    by_seed: dict[int, list[Record]] = defaultdict(list)
    for record in group:
        by_seed[record.cell.seed].append(record)
    chosen = {seed: best_on_validation(by_seed[seed]) for seed in sorted(by_seed)}
    return {seed: record for seed, record in chosen.items() if record is not None}


def _points(record: Record) -> float:
    return 100 * record.test.map if record.test is not None else float("nan")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def to_json(found: list[Board]) -> str:
    """Boards as a JSON array."""
    return "[" + ",\n".join(board.model_dump_json(indent=1) for board in found) + "]"


def to_csv(found: list[Board]) -> str:
    """One line a row, with what tells the boards apart in front."""
    text = io.StringIO()
    about = [name for name in Board.model_fields if name != "rows"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(about + list(Row.model_fields))
    for board in found:
        head = [getattr(board, name) for name in about]
        for row in board.rows:
            writer.writerow(head + [_flat(value) for value in row.model_dump().values()])
    return text.getvalue()


def _flat(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def cells_of(row: Row) -> list[str]:
    """A row as people read it, in the order of COLUMNS."""
    return [
        attacks.short(row.attack),
        defenses.short(row.defense),
        with_interval(row.map, row.interval),
        with_interval(row.to_reference, row.to_reference_interval, signed=True),
        _percent(row.positives_removed),
        _percent(row.labels_removed),
        str(row.seeds) + (f" ({row.failed} failed)" if row.failed else ""),
        " ".join(f"{lr:g}" for lr in sorted(set(row.learning_rates))),
        row.selection_rule,
        ", ".join(row.notes),
    ]


COLUMNS = (
    "attack", "defense", "mAP", "vs full", "positives lost", "labels lost", "seeds", "lr",
    "selected on", "notes",
)  # fmt: skip


def title(board: Board) -> str:
    """What the rows of a board have in common."""
    parts = (
        datasets.short(board.dataset),
        models.short(board.model),
        board.protocol,
        f"{board.epochs} epochs",
        f"{board.selection} validation labels",
    )
    return " · ".join(parts)


def to_markdown(found: list[Board]) -> str:
    """A Markdown table for each board."""
    lines = []
    for board in found:
        lines += [f"**{title(board)}**", ""]
        table = [list(COLUMNS), ["---"] * len(COLUMNS), *map(cells_of, board.rows)]
        for cells in table:
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def with_interval(value: float | None, half_width: float | None, *, signed: bool = False) -> str:
    """``83.1 ± 0.4``; a dash where there is no value."""
    if value is None or value != value:
        return "-"
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return text if half_width is None else f"{text} ± {half_width:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
