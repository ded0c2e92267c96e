"""A row of a board: one attack and defense, summed up over seeds."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.benchmark.boards.reliability import doubts
from labelattack.benchmark.boards.shaking import SHAKES, Shaken, shaken
from labelattack.benchmark.store.record import Record, points
from labelattack.measures._d_score.distributions import DScore
from labelattack.metrics.statistics import Estimate, estimate, estimate_all


class Row(BaseModel):
    """One attack and defense. mAP and differences in points (0 to 100), shares in [0, 1].

    Attributes:
        attack: Resolved spec.
        defense: Resolved spec.
        variant: What else tells it from other rows of a mixed board; empty otherwise.
        seeds: Seeds that finished.
        maps: Test mAP of each seed.
        map: Mean test mAP over seeds; None if no seed finished.
        interval: Half-width of its 95 % Student-t interval over seeds; for a single seed that of
            the bootstrap over images, if it was asked for.
        interval_over: What the interval is over, ``seeds`` or ``images``; None if there is none.
        rank: Best and worst rank among the ranked defenses under the same attack that paired tests
            leave open; None where it has too few seeds in common with others to test. Two that
            cannot be told apart share a rank.
        to_reference: Mean difference from the full-label reference, paired by seed.
        to_reference_interval: Half-width of that difference's interval.
        robustness: Distance of attention from uniform, in [0, 1], lower is better; mean over seeds,
            None if it was not measured or is undefined for a seed.
        robustness_interval: Half-width of its 95 % Student-t interval; for a single seed that of
            the bootstrap over images.
        fitness: 1 - distance of attention from features, in [0, 1], higher is better; likewise.
        fitness_interval: Likewise.
        d_score_interval: Likewise, of their difference.
        evasion: What an evasion attack on test images leaves; None if it was not measured for each
            seed, or in different ways.
        corruption: What common corruptions of test images leave; likewise.
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
        saturated_classes: Classes positive on every test image: any model has an AP of 1.
        failed: Cells that failed.
        unreliable: Reasons not to trust the row; empty if there is none.
        notes: Privileges: oracle, told the number of positives, clean validation labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str
    variant: str = ""
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
    evasion: Shaken | None = None
    corruption: Shaken | None = None
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
    saturated_classes: list[str] = []
    failed: int
    unreliable: list[str]
    notes: list[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def d_score(self) -> float | None:
        """Fitness - robustness, in [-1, 1], higher is better."""
        return DScore(self.robustness, self.fitness).value


def _row(
    group: list[Record], chosen: dict[int, Record], reference: dict[int, Record], variant: str
) -> Row:
    best = list(chosen.values())
    scores = estimate([points(record) for record in best])
    pairs = [(record, reference[seed]) for seed, record in chosen.items() if seed in reference]
    paired = estimate([points(record) - points(clean) for record, clean in pairs])
    drops = _class_drops(pairs)
    worst_class = max(drops, key=drops.__getitem__, default=None)
    half_width, over = _interval(scores, best)
    removals = [r.removal for r in best if r.removal is not None]
    notes = []
    if any(r.oracle for r in group):
        notes.append("oracle: clean labels")
    if any(r.privileged for r in group):
        notes.append("told positives per image")
    if any(r.cell.selection == "clean" for r in group):
        notes.append("clean validation labels")
    notes += dict.fromkeys(caveat for r in best for caveat in r.caveats)
    diagnoses = [r.diagnosis for r in best if r.diagnosis is not None]
    ways = {d.settings.changes() for d in diagnoses}
    if len(ways) > 1:
        diagnoses = []
        notes.append("D-Score: measured in different ways")
    elif any(ways):
        notes.append(f"D-Score: {ways.pop()}")
    changed = {name: shaken(chosen, reference, name) for name in SHAKES}
    for name, summary in changed.items():
        if summary is None and any(getattr(record, name) for record in best):
            notes.append(f"{name}: not measured for each seed in one way")
    robust = _part([(d.robustness, d.robustness_interval) for d in diagnoses])
    fitting = _part([(d.fitness, d.fitness_interval) for d in diagnoses])
    difference = _part([(d.d_score, d.d_score_interval) for d in diagnoses])
    return Row(
        attack=group[0].cell.attack,
        defense=group[0].cell.defense,
        variant=variant,
        seeds=scores.seeds,
        maps={seed: points(record) for seed, record in chosen.items()},
        map=scores.mean if best else None,
        interval=half_width,
        interval_over=over,
        rank=None,
        to_reference=paired.mean if paired.seeds else None,
        to_reference_interval=paired.half_width,
        robustness=robust[0],
        robustness_interval=robust[1],
        fitness=fitting[0],
        fitness_interval=fitting[1],
        d_score_interval=difference[1],
        evasion=changed["evasion"],
        corruption=changed["corruption"],
        worst_class=worst_class,
        worst_drop=None if worst_class is None else drops[worst_class],
        class_drops=drops,
        positives_removed=_mean([r.positives_removed for r in removals]),
        labels_removed=_mean([r.q_hat for r in removals]),
        requested_rate=removals[0].requested_rate if removals else None,
        learning_rates=[r.cell.recipe.lr for r in best],
        batch_sizes=[r.cell.recipe.batch_size for r in best],
        selection_rule=", ".join(sorted({r.selection_rule for r in best})),
        recipes=len({r.cell.recipe for r in group}),
        undefined_classes=max((r.test.undefined_classes for r in best if r.test), default=0),
        saturated_classes=sorted({c for r in best if r.test for c in r.test.saturated_classes}),
        failed=sum(r.status == "failed" for r in group),
        unreliable=doubts(group, best),
        notes=notes,
    )


def _interval(
    scores: Estimate, best: list[Record]
) -> tuple[float | None, Literal["seeds", "images"] | None]:
    """Half-width of the interval of a row's mAP, in points, and what it is over."""
    if scores.half_width is not None:
        return scores.half_width, "seeds"
    limits = best[0].test.map_interval if best and best[0].test is not None else None
    return (None, None) if limits is None else (50 * (limits[1] - limits[0]), "images")


def _part(
    found: list[tuple[float | None, tuple[float, float] | None]],
) -> tuple[float | None, float | None]:
    """Mean and half-width of one part of the D-Score; undefined if it is so for any seed."""
    mean, half_width = estimate_all(value for value, _ in found)
    if mean is not None and len(found) == 1 and found[0][1] is not None:
        low, high = found[0][1]
        half_width = (high - low) / 2
    return mean, half_width


def _class_drops(pairs: list[tuple[Record, Record]]) -> dict[str, float]:
    """How far the average precision of each class falls below the reference, in points."""
    drops: dict[str, list[float]] = defaultdict(list)
    for record, clean in pairs:
        if record.test is None or clean.test is None:
            continue
        for name, value in record.test.per_class.items():
            before = clean.test.per_class.get(name)
            if value is not None and before is not None:
                drops[name].append(100 * (before - value))
    return {name: sum(values) / len(values) for name, values in drops.items()}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
