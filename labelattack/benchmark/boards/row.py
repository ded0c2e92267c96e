"""A row of a board: one attack and defense, summed up over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from labelattack.benchmark.boards.reliability import reliability_warnings
from labelattack.benchmark.store.record import Record, points
from labelattack.measures.request import derived_measures, known_measures, measure_named, place_of
from labelattack.measures.summary import MetricSummary, Summary
from labelattack.metrics.statistics import Estimate, estimate
from labelattack.training.recipe import Setting

# Format: fields of a row that are those of a summary; a summary without lies under its own name.
# Summaries of all other measures lie in ``measures``.
_FIELDS: dict[str, tuple[str, ...]] = {
    "d-score": (
        "robustness", "robustness_interval", "fitness", "fitness_interval", "d_score_interval",
        "d_score",
    ),
    "evasion": (),
    "corruption": (),
    "class-drops": ("class_drops", "worst_class", "worst_drop"),
}  # fmt: skip


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
        measured: Summary of each measure that was taken of every seed in one way, and of each that
            is derived from the scores, by the measure's name.
        positives_removed: Share of the known positives removed, mean over seeds.
        labels_removed: Share of all known labels removed (the paper's q-hat), mean over seeds.
        requested_rate: The attack's rate.
        known_share: Share of the training entries that are known before the attack; None for all.
        counted_share: Share of the test entries that are known and count; None for all.
        assumed_share: Share of the test entries that are unknown and count as negatives, as none is
            known; None for none.
        learning_rates: Learning rate selected for each seed.
        batch_sizes: Batch size selected for each seed.
        hyper_parameters: Of further settings that a seed uses, those of the loss among them, the
            value selected for each seed.
        selection_rule: Validation cells that selection saw.
        recipes: Recipes searched for each seed.
        undefined_classes: Number of classes whose AP is undefined and left out.
        left_out: Names of these.
        saturated_classes: Of older records, classes positive on every test image, which then had
            an AP of 1.
        worst_of: Of a worst case, the attack that did most harm, by seed; empty for other rows.
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
    measured: dict[str, SerializeAsAny[Summary]] = {}
    positives_removed: float | None
    labels_removed: float | None
    requested_rate: float | None
    learning_rates: list[float]
    batch_sizes: list[int]
    hyper_parameters: dict[str, list[Setting]] = Field(default={}, exclude_if=lambda of: not of)
    selection_rule: str
    recipes: int
    undefined_classes: int
    left_out: list[str] = Field(default=[], exclude_if=lambda names: not names)
    saturated_classes: list[str] = []
    known_share: float | None = Field(default=None, exclude_if=lambda share: share is None)
    counted_share: float | None = Field(default=None, exclude_if=lambda share: share is None)
    assumed_share: float | None = Field(default=None, exclude_if=lambda share: share is None)
    worst_of: dict[int, str] = Field(default={}, exclude_if=lambda of: not of)
    failed: int
    unreliable: list[str]
    notes: list[str]

    def metric(self, measure: str, name: str) -> MetricSummary | None:
        """A metric over seeds; None if the measure was not taken.

        Args:
            measure: Name of the measure.
            name: Name of the metric.
        """
        summary = self.measured.get(measure)
        return None if summary is None else summary.metric(name)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """Puts summaries together, wherever the format has them."""
        if not isinstance(data, Mapping) or "measured" in data:
            return data
        fields = dict(data)
        found = fields.pop("measures", None) or {}
        for name, own in _FIELDS.items():
            if not own:
                found[name] = fields.pop(name, None)
            elif any((values := {field: fields.pop(field, None) for field in own}).values()):
                found[name] = values
        known = known_measures()
        fields["measured"] = {
            name: known[name].summary.model_validate(value)
            for name, value in found.items()
            if value is not None and name in known
        }
        return fields

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Summaries as the format has them: some among the row's own fields."""
        fields: dict[str, Any] = {}
        for key, value in handler(self).items():
            if key != "measured":
                fields[key] = value
                continue
            for name, own in _FIELDS.items():
                summary = value.get(name)
                if own:
                    fields |= {field: (summary or {}).get(field) for field in own}
                else:
                    fields[name] = summary
            fields["class_drops"] = fields["class_drops"] or {}
            if others := {name: of for name, of in value.items() if name not in _FIELDS}:
                fields["measures"] = dict(sorted(others.items()))
        fields["d_score"] = fields.pop("d_score", None)
        return fields


def row_of(
    group: list[Record], chosen: dict[int, Record], reference: dict[int, Record], variant: str
) -> Row:
    """Row of some records.

    Args:
        group: All its records, of every recipe and seed.
        chosen: The run of each seed that validation selects.
        reference: Those of the full-label reference.
        variant: What else tells the row from others.
    """
    best = list(chosen.values())
    scores = estimate([points(record) for record in best])
    pairs = [(record, reference[seed]) for seed, record in chosen.items() if seed in reference]
    paired = estimate([points(record) - points(clean) for record, clean in pairs])
    half_width, over = _interval(scores, best)
    removals = [r.removal for r in best if r.removal is not None]
    notes = [*_privileges(group), *dict.fromkeys(caveat for r in best for caveat in r.caveats)]
    measured, remarks = _measured(chosen, reference)
    notes += remarks
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
        measured=measured,
        positives_removed=_mean([r.positives_removed for r in removals]),
        labels_removed=_mean([r.q_hat for r in removals]),
        requested_rate=removals[0].requested_rate if removals else None,
        learning_rates=[r.cell.recipe.lr for r in best],
        batch_sizes=[r.cell.recipe.batch_size for r in best],
        hyper_parameters=_selected_settings(best),
        selection_rule=", ".join(sorted({r.selection_rule for r in best})),
        recipes=len({r.cell.recipe for r in group}),
        **_counted(best),
        failed=sum(r.status == "failed" for r in group),
        unreliable=reliability_warnings(group, best),
        notes=notes,
    )


def _selected_settings(best: list[Record]) -> dict[str, list[Setting]]:
    """Further settings that were selected, by name; of a default that is left out, its value."""
    found = [record.cell.recipe for record in best]
    return {
        name: [recipe.further().get(name, getattr(recipe, name, "")) for recipe in found]
        for name in dict.fromkeys(name for recipe in found for name in recipe.further())
    }


def _counted(best: list[Record]) -> dict[str, Any]:
    """Entries that are known and classes that have an AP, by the fields of a row."""
    tests = [record.test for record in best if record.test is not None]
    removals = [record.removal for record in best if record.removal is not None]
    return {
        "undefined_classes": max((test.undefined_classes for test in tests), default=0),
        "left_out": sorted({name for test in tests for name in test.undefined}),
        "saturated_classes": sorted({name for test in tests for name in test.saturated_classes}),
        "known_share": next((removal.known_share for removal in removals), None),
        "counted_share": next((test.counted_share for test in tests), None),
        "assumed_share": next((test.assumed_share for test in tests), None),
    }


def _interval(
    scores: Estimate, best: list[Record]
) -> tuple[float | None, Literal["seeds", "images"] | None]:
    """Half-width of the interval of a row's mAP, in points, and what it is over."""
    if scores.half_width is not None:
        return scores.half_width, "seeds"
    limits = best[0].test.map_interval if best and best[0].test is not None else None
    return (None, None) if limits is None else (50 * (limits[1] - limits[0]), "images")


def _privileges(group: list[Record]) -> list[str]:
    """Notes on what the runs of a row saw beyond attacked labels."""
    notes = []
    if any(r.oracle for r in group):
        partial = any(r.removal is not None and r.removal.known_share for r in group)
        notes.append("oracle: all known labels" if partial else "oracle: clean labels")
    if any(r.privileged for r in group):
        notes.append("told positives per image")
    if any(r.cell.selection == "clean" for r in group):
        notes.append("clean validation labels")
    return notes


def _measured(
    chosen: dict[int, Record], reference: dict[int, Record]
) -> tuple[dict[str, Summary], list[str]]:
    """Summaries of the measures of a row, and notes on them."""
    measured: dict[str, Summary] = {}
    notes: list[str] = []
    for name in sorted({name for r in chosen.values() for name in r.outcomes}, key=place_of):
        cls = measure_named(name)
        seeds = {s: r.outcomes[name] for s, r in chosen.items() if name in r.outcomes}
        ways = {outcome.how() for outcome in seeds.values()}
        if len(seeds) < len(chosen) or len(ways) > 1:
            notes.append(f"{cls.title()}: not measured for each seed in one way")
            continue
        before = {
            seed: record.outcomes[name]
            for seed, record in reference.items()
            if name in record.outcomes and record.outcomes[name].how() in ways
        }
        measured[name] = cls.summarise(seeds, before)
        notes += cls.notes(list(seeds.values()))
    tests = {seed: r.test for seed, r in chosen.items() if r.test is not None}
    clean = {seed: r.test for seed, r in reference.items() if r.test is not None}
    for name, derived in derived_measures().items():
        if (summary := derived.of_row(tests, clean)) is not None:
            measured[name] = summary
    unread = sorted({name for r in chosen.values() for name in r.unread})
    notes += [f"{name}: measured, but no measure of that name is loaded" for name in unread]
    return measured, notes


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
