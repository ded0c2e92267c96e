"""Boards: records, selected on validation, summed up over seeds."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.attacks import registry as attacks
from labelattack.benchmark.grid import REFERENCE
from labelattack.benchmark.selection import best_on_validation
from labelattack.benchmark.store import Record
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.evaluation.dscore import DScore
from labelattack.evaluation.statistics import estimate
from labelattack.models import registry as models
from labelattack.registry import Spec


class Row(BaseModel):
    """One attack and defense. mAP and differences in points (0 to 100), shares in [0, 1].

    Attributes:
        attack: Resolved spec.
        defense: Resolved spec.
        seeds: Seeds that finished.
        maps: Test mAP of each seed.
        map: Mean test mAP over seeds; None if no seed finished.
        interval: Half-width of its 95 % Student-t interval over seeds; for a single seed that of
            the bootstrap over images, if it was asked for.
        interval_over: What the interval is over, ``seeds`` or ``images``; None if there is none.
        rank: Best and worst rank among the defenses under the same attack that paired tests leave
            open; None where there are too few seeds to test. Two that cannot be told apart share
            a rank.
        to_reference: Mean difference from the full-label reference, paired by seed.
        to_reference_interval: Half-width of that difference's interval.
        robustness: Distance of attention from uniform, in [0, 1], lower is better; mean over seeds,
            None if it was not measured or is undefined for a seed.
        robustness_interval: Half-width of its 95 % Student-t interval; for a single seed that of
            the bootstrap over images.
        fitness: 1 - distance of attention from features, in [0, 1], higher is better; likewise.
        fitness_interval: Likewise.
        d_score_interval: Likewise, of their difference.
        class_drops: Points of average precision that each class loses to the reference, mean over
            seeds.
        worst_class: Class that loses most average precision to the reference, mean over seeds.
        worst_drop: How many points it loses.
        positives_removed: Share of positives removed, mean over seeds.
        labels_removed: Share of all labels removed (the paper's q-hat), mean over seeds.
        requested_rate: The attack's rate.
        learning_rates: Learning rate selected for each seed.
        batch_sizes: Batch size selected for each seed.
        selection_rule: Validation cells that selection saw.
        recipes: Recipes searched for each seed.
        undefined_classes: Classes whose AP is undefined and left out.
        failed: Cells that failed.
        unreliable: Reasons not to trust the row; empty if there is none.
        notes: Privileges: oracle, told the number of positives, clean validation labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str
    seeds: int
    maps: dict[int, float]
    map: float | None
    interval: float | None
    interval_over: Literal["seeds", "images"] | None
    rank: tuple[int, int] | None
    to_reference: float | None
    to_reference_interval: float | None
    robustness: float | None
    robustness_interval: float | None
    fitness: float | None
    fitness_interval: float | None
    d_score_interval: float | None
    class_drops: dict[str, float]
    worst_class: str | None
    worst_drop: float | None
    positives_removed: float | None
    labels_removed: float | None
    requested_rate: float | None
    learning_rates: list[float]
    batch_sizes: list[int]
    selection_rule: str
    recipes: int
    undefined_classes: int
    failed: int
    unreliable: list[str]
    notes: list[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def d_score(self) -> float | None:
        """Fitness - robustness, in [-1, 1], higher is better."""
        return DScore(self.robustness, self.fitness).value


class Curve(BaseModel):
    """How a defense's mAP falls as one kind of attack removes more.

    Attributes:
        attack: The attack's spec without its rate.
        defense: Resolved spec.
        rates: Rates that were run, ascending.
        maps: Test mAP at each, in points, mean over seeds.
        intervals: Half-widths of their 95 % Student-t intervals; None below two seeds.
        area: Area under mAP divided by the reference's, from rate 0 (the reference itself) to the
            largest rate, divided by that rate: 1 means that nothing was lost. Mean over the seeds
            that have every rate; None without a reference.
        area_interval: Half-width of its interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str
    rates: list[float]
    maps: list[float]
    intervals: list[float | None]
    area: float | None
    area_interval: float | None

    @property
    def falls(self) -> bool:
        """Whether mean mAP is lower at every larger rate."""
        return all(after < before for before, after in pairwise(self.maps))


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
    curves: list[Curve]


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
            **_summary(group),
        )
        for (dataset, fingerprint, model, protocol, epochs, selection, versions), group in (
            groups.items()
        )
    ]


def _summary(records: list[Record]) -> dict[str, Any]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        # A component's other version is another row, never averaged in.
        groups[cell.attack, cell.defense, cell.versions["attack"], cell.versions["defense"]].append(
            record
        )
    chosen = {key: _selected(group) for key, group in groups.items()}
    reference: dict[int, Record] = {}
    for (attack, defense, *_), best in chosen.items():
        if (attack, defense) == ("none", REFERENCE):
            reference = best
    rows = [_row(group, chosen[key], reference) for key, group in groups.items()]
    rows.sort(key=lambda r: (r.attack != "none", r.attack, -(r.map or 0.0), r.defense))
    return {"rows": rows, "curves": _curves(chosen, reference)}


def _row(group: list[Record], chosen: dict[int, Record], reference: dict[int, Record]) -> Row:
    best = list(chosen.values())
    scores = estimate([points(record) for record in best])
    pairs = [(record, reference[seed]) for seed, record in chosen.items() if seed in reference]
    paired = estimate([points(record) - points(clean) for record, clean in pairs])
    worst_class, worst_drop = _worst_drop(pairs)
    removals = [r.removal for r in best if r.removal is not None]
    notes = []
    if any(r.oracle for r in group):
        notes.append("oracle: clean labels")
    if any(r.privileged for r in group):
        notes.append("told positives per image")
    if any(r.cell.selection == "clean" for r in group):
        notes.append("clean validation labels")
    diagnoses = [r.diagnosis for r in best if r.diagnosis is not None]
    ways = {d.settings.changes() for d in diagnoses}
    if len(ways) > 1:
        diagnoses = []
        notes.append("D-Score: measured in different ways")
    elif any(ways):
        notes.append(f"D-Score: {ways.pop()}")
    robust = _part([(d.robustness, d.robustness_interval) for d in diagnoses])
    fitting = _part([(d.fitness, d.fitness_interval) for d in diagnoses])
    difference = _part([(d.d_score, d.d_score_interval) for d in diagnoses])
    return Row(
        attack=group[0].cell.attack,
        defense=group[0].cell.defense,
        seeds=scores.seeds,
        map=scores.mean if best else None,
        interval=scores.half_width,
        to_reference=paired.mean if paired.seeds else None,
        to_reference_interval=paired.half_width,
        robustness=robust[0],
        robustness_interval=robust[1],
        fitness=fitting[0],
        fitness_interval=fitting[1],
        d_score_interval=difference[1],
        worst_class=worst_class,
        worst_drop=worst_drop,
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


def _part(
    found: list[tuple[float | None, tuple[float, float] | None]],
) -> tuple[float | None, float | None]:
    """Mean and half-width of one part of the D-Score; undefined if it is so for any seed."""
    values = [value for value, _ in found if value is not None]
    if not found or len(values) < len(found):
        return None, None
    over_seeds = estimate(values)
    if len(found) == 1 and found[0][1] is not None:
        low, high = found[0][1]
        return over_seeds.mean, (high - low) / 2
    return over_seeds.mean, over_seeds.half_width


def _worst_drop(pairs: list[tuple[Record, Record]]) -> tuple[str | None, float | None]:
    """The class whose average precision falls most below the reference, in points."""
    drops: dict[str, list[float]] = defaultdict(list)
    for record, clean in pairs:
        if record.test is None or clean.test is None:
            continue
        for name, value in record.test.per_class.items():
            before = clean.test.per_class.get(name)
            if value is not None and before is not None:
                drops[name].append(100 * (before - value))
    means = {name: sum(values) / len(values) for name, values in drops.items()}
    worst = max(means, key=lambda name: means[name], default=None)
    return worst, None if worst is None else means[worst]


def _curves(
    selected: dict[tuple[str, ...], dict[int, Record]], reference: dict[int, Record]
) -> list[Curve]:
    families: dict[tuple[str, ...], dict[float, dict[int, float]]] = defaultdict(dict)
    for (attack, defense, *versions), chosen in selected.items():
        spec = Spec.parse(attack)
        params = dict(spec.params)
        told = {r.removal.requested_rate for r in chosen.values() if r.removal is not None}
        if "rate" in params and len(told) == 1 and (rate := told.pop()) is not None:
            del params["rate"]
            family = str(Spec.of(spec.name, params))
            families[family, defense, *versions][rate] = {
                seed: points(record) for seed, record in chosen.items()
            }
    curves = []
    for (attack, defense, *_), by_rate in sorted(families.items()):
        rates = sorted(by_rate)
        estimates = [estimate(list(by_rate[rate].values())) for rate in rates]
        whole = set.intersection(*(set(maps) for maps in by_rate.values())) & set(reference)
        area = estimate([_area(rates, by_rate, s, points(reference[s])) for s in sorted(whole)])
        curves.append(
            Curve(
                attack=attack,
                defense=defense,
                rates=rates,
                maps=[e.mean for e in estimates],
                intervals=[e.half_width for e in estimates],
                area=area.mean if area.seeds and max(rates) > 0 else None,
                area_interval=area.half_width,
            )
        )
    return curves


def _area(
    rates: list[float], by_rate: dict[float, dict[int, float]], seed: int, clean: float
) -> float:
    """Trapezoids under mAP relative to the reference, which stands at rate 0."""
    at = [0.0, *(rate for rate in rates if rate > 0)]
    relative = [1.0, *(by_rate[rate][seed] / clean for rate in at[1:])]
    steps = zip(pairwise(at), pairwise(relative), strict=True)
    area = sum((high - low) * (left + right) / 2 for (low, high), (left, right) in steps)
    return area / at[-1] if at[-1] else float("nan")


def _selected(group: list[Record]) -> dict[int, Record]:
    """The record that validation chooses for each seed, seeds ascending."""
    best = sorted(selected_runs(group), key=lambda record: record.cell.seed)
    return {record.cell.seed: record for record in best}


def selected_runs(records: Iterable[Record]) -> list[Record]:
    """For each attack, defense, seed and setting, the recipe that validation chooses."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.cell.model_dump_json(exclude={"recipe": {"lr", "batch_size"}})].append(record)
    return [best for group in groups.values() if (best := best_on_validation(group)) is not None]


def short_names(row: Row) -> tuple[str, str]:
    """Attack and defense without parameters that have their default value."""
    return attacks.short(row.attack), defenses.short(row.defense)


def with_limits(value: float | None, limits: tuple[float, float] | None = None) -> str:
    """``0.831 [0.820, 0.842]``; says undefined where there is no value."""
    if value is None:
        return "undefined"
    return f"{value:.3f}" + ("" if limits is None else f" [{limits[0]:.3f}, {limits[1]:.3f}]")


def points(record: Record) -> float:
    """Test mAP of a record in points; NaN if it failed."""
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
    about = [name for name in Board.model_fields if name not in ("rows", "curves")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*about, *Row.model_fields, *Row.model_computed_fields])
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
        *short_names(row),
        with_interval(row.map, row.interval),
        with_interval(row.to_reference, row.to_reference_interval, signed=True),
        with_interval(row.robustness, row.robustness_interval, digits=3),
        with_interval(row.fitness, row.fitness_interval, digits=3),
        with_interval(row.d_score, row.d_score_interval, digits=3),
        f"{row.worst_class} {-row.worst_drop:+.1f}" if row.worst_drop else "-",
        _percent(row.positives_removed),
        _percent(row.labels_removed),
        str(row.seeds) + (f" ({row.failed} failed)" if row.failed else ""),
        " ".join(f"{lr:g}" for lr in sorted(set(row.learning_rates))),
        row.selection_rule,
        ", ".join(row.notes),
    ]


COLUMNS = (
    "attack", "defense", "mAP", "vs full", "robustness", "fitness", "D-Score", "worst class",
    "positives lost", "labels lost", "seeds", "lr",
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
        if board.curves:
            table = [
                list(CURVE_COLUMNS),
                ["---"] * len(CURVE_COLUMNS),
                *map(curve_cells, board.curves),
            ]
            lines += ["| " + " | ".join(cells) + " |" for cells in table] + [""]
    return "\n".join(lines)


CURVE_COLUMNS = ("attack", "defense", "mAP at rate", "area", "to rate")


def curve_cells(curve: Curve) -> list[str]:
    """A curve as people read it, in the order of CURVE_COLUMNS."""
    points = zip(curve.rates, curve.maps, curve.intervals, strict=True)
    return [
        attacks.short(curve.attack, keep=()),
        defenses.short(curve.defense),
        ", ".join(f"{rate:g}: {with_interval(value, half)}" for rate, value, half in points),
        with_interval(curve.area, curve.area_interval, digits=3),
        f"{max(curve.rates):g}",
    ]


def with_interval(
    value: float | None, half_width: float | None, *, signed: bool = False, digits: int = 1
) -> str:
    """``83.1 ± 0.4``; a dash where there is no value."""
    if value is None or value != value:
        return "-"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if half_width is None else f"{text} ± {half_width:.{digits}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
