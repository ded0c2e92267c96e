"""Robustness to label removal: area under mAP, relative to full labels, against removal rate."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from labelattack.measures import register
from labelattack.measures.base import Derived
from labelattack.measures.outcome import Metric
from labelattack.measures.summary import MetricSummary, Summary
from labelattack.metrics.statistics import estimate


class LabelRemovalSummary(Summary):
    """mAP of a defense at each rate of an attack, and the area under it.

    Attributes:
        rates: Rates that were run, ascending.
        maps: Test mAP at each, in points, mean over seeds.
        intervals: Half-widths of their 95 % Student-t intervals; None below two seeds.
        area: Area under mAP divided by the reference's, from rate 0 (the reference itself) to the
            largest rate, divided by that rate: 1 means that nothing was lost. Mean over the seeds
            that have every rate; None without a reference.
        area_interval: Half-width of its interval.
    """

    rates: list[float]
    maps: list[float]
    intervals: list[float | None]
    area: float | None
    area_interval: float | None

    def metric(self, name: str) -> MetricSummary | None:
        """The area."""
        return MetricSummary(mean=self.area, interval=self.area_interval)


@register("label-removal")
class LabelRemoval(Derived):
    """Robustness to label removal: area under mAP against removal rate."""

    summary: ClassVar[type[Summary]] = LabelRemovalSummary
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("area", "area"),)

    @classmethod
    def of_family(
        cls, by_rate: Mapping[float, Mapping[int, float]], reference: Mapping[int, float]
    ) -> LabelRemovalSummary:
        """Test mAP at each rate, and the area under it."""
        rates = sorted(by_rate)
        estimates = [estimate(list(by_rate[rate].values())) for rate in rates]
        whole = set.intersection(*(set(maps) for maps in by_rate.values())) & set(reference)
        area = estimate([_area(rates, by_rate, seed, reference[seed]) for seed in sorted(whole)])
        return LabelRemovalSummary(
            rates=rates,
            maps=[e.mean for e in estimates],
            intervals=[e.half_width for e in estimates],
            area=area.mean if area.seeds and max(rates) > 0 else None,
            area_interval=area.half_width,
        )


def _area(
    rates: list[float], by_rate: Mapping[float, Mapping[int, float]], seed: int, clean: float
) -> float:
    """Trapezoids under mAP relative to the reference, which stands at rate 0."""
    at = [0.0, *(rate for rate in rates if rate > 0)]
    relative = [1.0, *(by_rate[rate][seed] / clean for rate in at[1:])]
    steps = zip(pairwise(at), pairwise(relative), strict=True)
    area = sum((high - low) * (left + right) / 2 for (low, high), (left, right) in steps)
    return area / at[-1] if at[-1] else float("nan")
