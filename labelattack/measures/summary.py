"""Summary of a measure over the seeds of a row, and the columns that show it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from labelattack.measures.outcome import Metric, Outcome
from labelattack.metrics.statistics import estimate_all


class MetricSummary(BaseModel):
    """A metric over the seeds of a row, in the unit in which it is written.

    Attributes:
        mean: Mean over seeds; None if it is undefined for one.
        interval: Half-width of its 95 % Student-t interval; for a single seed that of the interval
            over images, if there is one.
        to_reference: Mean difference from the full-label reference, paired by seed.
        to_reference_interval: Half-width of that difference's interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float | None
    interval: float | None
    to_reference: float | None = None
    to_reference_interval: float | None = None


class Summary(BaseModel, ABC):
    """A measure over the seeds of a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def metric(self, name: str) -> MetricSummary | None:
        """One metric; None if the summary has none of that name."""


class MetricsSummary(Summary):
    """Summary of a measure that declares none of its own.

    Attributes:
        how: How it was measured.
        metrics: Each metric.
    """

    how: str
    metrics: dict[str, MetricSummary]

    def metric(self, name: str) -> MetricSummary | None:
        """One metric; None if the summary has none of that name."""
        return self.metrics.get(name)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Heading.
        field: Dotted path of the value in a row's JSON, by which the report sorts.
        text: Text of an item: of a row, curve or comparison, and in a column that a measure gives
            of the summary of a row.
        numeric: Whether the report sorts by number; columns that measures give always do.
        on_terminal: Whether a terminal's board has it; what repeats goes below the board there.
        always: Whether tables in files have a measure's column even where no row fills it.
        gives_way: Whether a terminal leaves it out where a ``wide`` column stands.
        wide: See ``gives_way``.
        rigid: Whether a terminal never breaks its texts.
    """

    heading: str
    field: str
    text: Callable[[Any], str]
    numeric: bool = False
    on_terminal: bool = True
    always: bool = False
    gives_way: bool = False
    wide: bool = False
    rigid: bool = True


def metric_summary(
    metric: Metric, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]
) -> MetricSummary:
    """A metric over seeds, and its difference from the reference paired by seed.

    Args:
        metric: The metric.
        seeds: Outcome of each seed.
        reference: Outcomes of the reference, of the seeds that it has.
    """
    scale = metric.scale
    values = {seed: outcome.value(metric.name) for seed, outcome in seeds.items()}
    others = {seed: reference[seed].value(metric.name) for seed in seeds if seed in reference}
    mean, half_width = estimate_all(_scaled(scale, value) for value in values.values())
    if mean is not None and half_width is None and len(seeds) == 1:
        limits = next(iter(seeds.values())).interval(metric.name)
        half_width = None if limits is None else scale * (limits[1] - limits[0]) / 2
    apart = estimate_all(
        None if (value := values[seed]) is None or other is None else scale * (value - other)
        for seed, other in others.items()
    )
    return MetricSummary(
        mean=mean, interval=half_width, to_reference=apart[0], to_reference_interval=apart[1]
    )


def _scaled(scale: int, value: float | None) -> float | None:
    return None if value is None else scale * value
