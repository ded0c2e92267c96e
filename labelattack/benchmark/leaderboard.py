"""Boards: records, selected on validation, summed up over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby, pairwise
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.benchmark.grid import REFERENCE
from labelattack.benchmark.identity import Identity, identity_of, libraries_of, pair_of
from labelattack.benchmark.ranking import Comparison, Run, rank
from labelattack.benchmark.selection import best_on_validation
from labelattack.benchmark.shaking import SHAKES, Shaken, shaken
from labelattack.benchmark.store import Record
from labelattack.benchmark.trust import doubts
from labelattack.defenses import registry as defenses
from labelattack.errors import unknown
from labelattack.evaluation.dscore import DScore
from labelattack.evaluation.statistics import Estimate, estimate, estimate_all
from labelattack.registry import Spec


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


class Curve(BaseModel):
    """How a defense's mAP falls as one kind of attack removes more.

    Attributes:
        attack: The attack's spec without its rate.
        defense: Resolved spec.
        variant: What else tells it from other curves of a mixed board; empty otherwise.
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
    variant: str = ""
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
    """Rows that may be compared.

    Attributes:
        dataset: Resolved spec.
        fingerprint: Hash of the dataset's images and labels.
        model: Resolved spec.
        protocol: What was trained.
        epochs: Passes over the training set; None if they differ.
        selection: Whose validation labels chose epoch and recipe.
        versions: Versions of dataset and model.
        mixed: Which of these differ from row to row, since it was asked for; they are joined by
            `` | ``, and each row says its own.
        libraries: Every version of each library that computed a record.
        rows: By attack and falling mAP.
        curves: mAP against rate.
        comparisons: Paired comparisons of defenses under each attack.
        unranked: Why rows of an attack have no rank: all of them, or those that are named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    fingerprint: str
    model: str
    protocol: str
    epochs: int | None
    selection: str
    versions: str
    mixed: list[str]
    libraries: dict[str, list[str]]
    rows: list[Row]
    curves: list[Curve]
    comparisons: list[Comparison]
    unranked: dict[str, str]


Mixable = Literal["dataset", "model", "protocol", "selection", "versions"]
_SETTLED_BY: dict[Mixable, tuple[str, ...]] = {
    "dataset": ("dataset", "fingerprint"),
    "model": ("model",),
    "protocol": ("protocol", "epochs"),
    "selection": ("selection",),
    "versions": ("versions",),
}


_JOINED = [name for name in Identity.model_fields if name != "epochs"]


def boards(records: Iterable[Record], *, mix: Collection[Mixable] = ()) -> list[Board]:
    """Makes boards; records that may not be compared go to different ones.

    Args:
        records: Finished and failed records, in any order.
        mix: What may differ within one board all the same.

    Returns:
        Boards in the order of their first record, rows by attack and falling mAP.

    Raises:
        UnknownNameError: If something else is to be mixed.
    """
    return [board for board, _ in boards_with_records(records, mix=mix)]


def boards_with_records(
    records: Iterable[Record], *, mix: Collection[Mixable] = ()
) -> list[tuple[Board, list[Record]]]:
    """[boards][labelattack.benchmark.leaderboard.boards], each with the records it sums up."""
    for name in mix:
        if name not in _SETTLED_BY:
            raise unknown("mixture", name, _SETTLED_BY)
    free = {field for name in mix for field in _SETTLED_BY[name]}
    same: dict[Identity, list[Record]] = defaultdict(list)
    for record in records:
        same[identity_of(record)].append(record)
    groups: dict[tuple[object, ...], dict[Identity, list[Record]]] = defaultdict(dict)
    for identity, members in same.items():
        groups[tuple(v for k, v in identity if k not in free)][identity] = members
    return [
        (_board(group, free, sorted(mix)), [record for of in group.values() for record in of])
        for group in groups.values()
    ]


def _board(members: dict[Identity, list[Record]], free: set[str], mixed: list[Mixable]) -> Board:
    groups: dict[_Key, list[Record]] = defaultdict(list)
    for identity, records in members.items():
        variant = ", ".join(
            f"{value} epochs" if name == "epochs" else str(value)
            for name, value in identity
            if name in free and name != "fingerprint"
        )
        for record in records:
            # A component's other version is another row, never averaged in.
            pair = pair_of(record)
            groups[_Key(pair.attack, pair.defense, pair.versions, variant)].append(record)
    names = Counter((key.attack, key.defense, key.variant) for key in groups)
    chosen = {key: _selected(group) for key, group in groups.items()}
    references = {
        key.variant: best
        for key, best in chosen.items()
        if (key.attack, key.defense) == ("none", REFERENCE)
    }
    rows = []
    for key, group in groups.items():
        told = [key.variant] if key.variant else []
        if names[key.attack, key.defense, key.variant] > 1:
            told.append(f"versions: {key.versions}")
        rows.append(_row(group, chosen[key], references.get(key.variant, {}), ", ".join(told)))
    order = sorted(
        range(len(rows)),
        key=lambda n: (
            rows[n].attack != "none", rows[n].attack, -(rows[n].map or 0.0), rows[n].defense,
            rows[n].variant,
        ),
    )  # fmt: skip
    runs = [_runs(best) for best in chosen.values()]
    ranked, comparisons, unranked = _ranked([rows[n] for n in order], [runs[n] for n in order])
    values = {name: list(dict.fromkeys(getattr(i, name) for i in members)) for name in _JOINED}
    epochs = {identity.epochs for identity in members}
    return Board(
        **{name: " | ".join(found) for name, found in values.items()},
        epochs=epochs.pop() if len(epochs) == 1 else None,
        mixed=list(mixed),
        libraries=libraries_of(record for records in members.values() for record in records),
        rows=ranked,
        curves=_curves(chosen, references),
        comparisons=comparisons,
        unranked=unranked,
    )


class _Key(NamedTuple):
    attack: str
    defense: str
    versions: str
    variant: str


def _runs(chosen: dict[int, Record]) -> dict[int, Run]:
    return {
        seed: Run(points(record), record.removal.attacked_labels if record.removal else None)
        for seed, record in chosen.items()
    }


def _ranked(
    rows: list[Row], runs: list[dict[int, Run]]
) -> tuple[list[Row], list[Comparison], dict[str, str]]:
    """The rows with their ranks; rows of one attack lie together."""
    found: list[Row] = []
    comparisons: list[Comparison] = []
    unranked: dict[str, str] = {}
    for attack, group in groupby(zip(rows, runs, strict=True), lambda pair: pair[0].attack):
        members = list(group)
        ranking = rank(attack, [(row_name(row), of) for row, of in members])
        comparisons += ranking.comparisons
        if ranking.reason:
            unranked[attack] = ranking.reason
        found += [
            row.model_copy(update={"rank": of})
            for (row, _), of in zip(members, ranking.ranks, strict=True)
        ]
    return found, comparisons, unranked


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


def _curves(
    selected: dict[_Key, dict[int, Record]], references: dict[str, dict[int, Record]]
) -> list[Curve]:
    families: dict[_Key, dict[float, dict[int, float]]] = defaultdict(dict)
    for key, chosen in selected.items():
        spec = Spec.parse(key.attack)
        params = dict(spec.params)
        told = {r.removal.requested_rate for r in chosen.values() if r.removal is not None}
        if "rate" in params and len(told) == 1 and (rate := told.pop()) is not None:
            del params["rate"]
            family = key._replace(attack=str(Spec.of(spec.name, params)))
            families[family][rate] = {seed: points(record) for seed, record in chosen.items()}
    curves = []
    for key, by_rate in sorted(families.items()):
        rates, reference = sorted(by_rate), references.get(key.variant, {})
        estimates = [estimate(list(by_rate[rate].values())) for rate in rates]
        whole = set.intersection(*(set(maps) for maps in by_rate.values())) & set(reference)
        area = estimate([_area(rates, by_rate, s, points(reference[s])) for s in sorted(whole)])
        curves.append(
            Curve(
                attack=key.attack,
                defense=key.defense,
                variant=key.variant,
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


def row_name(row: Row | Curve) -> str:
    """Defense of a row or curve as people read it, with what else tells it apart."""
    defense = defenses.short(row.defense)
    return f"{defense} ({row.variant})" if row.variant else defense


def points(record: Record) -> float:
    """Test mAP of a record in points; NaN if it failed."""
    return 100 * record.test.map if record.test is not None else float("nan")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
