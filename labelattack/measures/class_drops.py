"""Points of average precision that each class loses to the full-label reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar

from labelattack.measures import register
from labelattack.measures.base import Derived
from labelattack.measures.clean_scores import CleanScores
from labelattack.measures.outcome import Metric
from labelattack.measures.summary import Column, MetricSummary, Summary


class ClassDropsSummary(Summary):
    """Drops of a row's classes.

    Attributes:
        class_drops: Points of average precision that each class loses, mean over seeds.
        worst_class: Class that loses most; None if there is no reference.
        worst_drop: How many points it loses.
    """

    class_drops: dict[str, float]
    worst_class: str | None
    worst_drop: float | None

    def metric(self, name: str) -> MetricSummary | None:
        """The largest drop."""
        return MetricSummary(mean=self.worst_drop, interval=None)


@register("class-drops")
class ClassDrops(Derived):
    """Average precision that each class loses to the full-label reference."""

    summary: ClassVar[type[Summary]] = ClassDropsSummary
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("worst_drop", "worst class", higher_is_better=False, unit="points"),
    )

    @classmethod
    def of_row(
        cls, seeds: Mapping[int, CleanScores], reference: Mapping[int, CleanScores]
    ) -> ClassDropsSummary:
        """Drops by class, paired by seed."""
        drops: dict[str, list[float]] = defaultdict(list)
        for seed, scores in seeds.items():
            if seed not in reference:
                continue
            for name, value in scores.per_class.items():
                before = reference[seed].per_class.get(name)
                if value is not None and before is not None:
                    drops[name].append(100 * (before - value))
        means = {name: sum(values) / len(values) for name, values in drops.items()}
        worst = max(means, key=means.__getitem__, default=None)
        return ClassDropsSummary(
            class_drops=means,
            worst_class=worst,
            worst_drop=None if worst is None else means[worst],
        )

    @classmethod
    def columns(cls) -> list[Column]:
        """The class that loses most."""
        return [Column("worst class", "worst_drop", _worst, always=True, rigid=False)]


def _worst(summary: ClassDropsSummary) -> str:
    return f"{summary.worst_class} {-summary.worst_drop:+.1f}" if summary.worst_drop else "-"
