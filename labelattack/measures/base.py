"""Contract of a measure: its metrics, its outcome of one run, its summary over seeds, its columns.

Light enough for whoever only reads records: files of measures import torch where they measure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, JsonValue

from labelattack.metrics.statistics import estimate_all
from labelattack.metrics.text import with_interval

if TYPE_CHECKING:
    from labelattack.measures.clean_scores import CleanScores
    from labelattack.measures.run import Setup, TrainedRun


class Metric(NamedTuple):
    """One number of a measure.

    Attributes:
        name: As JSON, TOML and ``check --measure`` have it; unique among all measures.
        label: Heading of its column.
        higher_is_better: Direction; the gate's drops and the ranks of a paper follow it.
        unit: ``points`` are hundredths and written with one digit, as mAP; ``ratio`` is written as
            it is, with three.
    """

    name: str
    label: str
    higher_is_better: bool = True
    unit: Literal["points", "ratio"] = "ratio"

    @property
    def scale(self) -> int:
        """Factor from the unit of an outcome to the unit in which the metric is written."""
        return 100 if self.unit == "points" else 1

    @property
    def digits(self) -> int:
        """Decimal digits in texts."""
        return 1 if self.unit == "points" else 3


MAP = Metric("map", "mAP", unit="points")
"""Test mAP, which every run has without being asked."""


class Outcome(BaseModel):
    """Result of a measure for one run."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def value(self, metric: str) -> float | None:
        """Value of a metric in its own unit; None if it is undefined."""
        value: float | None = getattr(self, metric, None)
        return value

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % interval of a metric over images; None if there is none."""
        limits: tuple[float, float] | None = getattr(self, f"{metric}_interval", None)
        return limits

    def how(self) -> str:
        """Settings and version in words; outcomes are compared where this text is equal."""
        raise NotImplementedError


class MeasuredValues(Outcome):
    """Outcome of a measure that declares no outcome class of its own.

    Attributes:
        version: Version of the measure, with a hash of its code if it is a plug-in or was edited.
        settings: Settings of the measure.
        images: Number of test images used.
        values: Value of each metric, in its own unit; None where undefined.
        intervals: 95 % intervals over images, of the metrics that have one.
        details: Further results, kept in the record.
    """

    version: str
    settings: dict[str, JsonValue]
    images: int
    values: dict[str, float | None]
    intervals: dict[str, tuple[float, float]] = {}
    details: dict[str, JsonValue] = {}

    def value(self, metric: str) -> float | None:
        """Value of a metric in its own unit; None if it is undefined."""
        return self.values.get(metric)

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % interval of a metric over images; None if there is none."""
        return self.intervals.get(metric)

    def how(self) -> str:
        """Version, settings and number of images."""
        told = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"version {self.version}, {told + ', ' if told else ''}{self.images} images"


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
    """A column of boards that a measure fills.

    Attributes:
        heading: Heading.
        field: Dotted path of the value in a row's JSON, by which the report sorts.
        text: Text of a row's summary.
        always: Whether tables in files have the column even where no row fills it.
        gives_way: Whether a terminal leaves it out where a ``wide`` column stands.
        wide: See ``gives_way``.
        rigid: Whether a terminal never breaks its texts.
    """

    heading: str
    field: str
    text: Callable[[Any], str]
    always: bool = False
    gives_way: bool = False
    wide: bool = False
    rigid: bool = True


class Measure(BaseModel, ABC):
    """A measure of trained networks; its fields are its settings: ``calibration:bins=15``.

    Attributes:
        version: Raised whenever equal settings give other numbers than before.
        outcome: Class of its outcomes.
        metrics: Its numbers.
        on: ``selected runs`` if it is taken only of the runs that boards show, because it takes
            longer than training: where several recipes are searched, of the selected one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int] = 1
    outcome: ClassVar[type[Outcome]] = MeasuredValues
    metrics: ClassVar[tuple[Metric, ...]]
    on: ClassVar[Literal["every run", "selected runs"]] = "every run"

    def resolved(self) -> Self:
        """The same with specs of other components in full; fails where one is unknown."""
        return self

    def prepare(self, setup: Setup) -> None:
        """Fails, or fills caches, before anything is trained.

        Args:
            setup: Dataset, model, protocol and means of computing.

        Raises:
            LabelAttackError: If the measure cannot be taken.
        """

    @abstractmethod
    def measure(self, run: TrainedRun) -> Outcome:
        """Measures a trained network; must leave it and the images as they are.

        Args:
            run: The network, with the dataset and its scores on the test images.
        """

    def values(
        self,
        images: int,
        *,
        details: Mapping[str, Any] | None = None,
        **values: float | None,
    ) -> MeasuredValues:
        """Outcome with a value for each metric.

        Args:
            images: Number of test images used.
            details: Further results for the record.
            **values: The metrics, each in its own unit; None or NaN where undefined.
        """
        known = {name: None if v is None or v != v else float(v) for name, v in values.items()}
        return MeasuredValues(
            version=self.full_version(),
            settings=self.model_dump(mode="json"),
            images=images,
            values=known,
            details=dict(details or {}),
        )

    def full_version(self) -> str:
        """Version, with a hash of the code if this is a plug-in or was edited."""
        from labelattack.measures import registry

        return registry.version(registry.name_of(type(self)))

    def is_outcome(self, outcome: Outcome) -> bool:
        """Whether an outcome is of these settings and of this version."""
        if not isinstance(outcome, MeasuredValues):
            raise NotImplementedError(f"{type(self).__name__} must say what its outcomes are")
        settings = self.model_dump(mode="json")
        return (outcome.version, outcome.settings) == (self.full_version(), settings)

    @classmethod
    def summarise(cls, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]) -> Summary:
        """Summary over the seeds of a row.

        Args:
            seeds: Outcome of each seed; all measured in one way.
            reference: Outcomes of the full-label reference, measured in the same way.
        """
        return MetricsSummary(
            how=next(iter(seeds.values())).how(),
            metrics={
                metric.name: metric_summary(metric, seeds, reference) for metric in cls.metrics
            },
        )

    @classmethod
    def title(cls) -> str:
        """Name of the measure in notes: by default its registered name."""
        from labelattack.measures import registry

        return registry.name_of(cls)

    @classmethod
    def notes(cls, outcomes: Sequence[Outcome]) -> list[str]:
        """Notes on a row beside its numbers.

        Args:
            outcomes: Those of its seeds, all measured in one way.
        """
        return []

    @classmethod
    def columns(cls) -> list[Column]:
        """Columns of boards: by default each metric, and its difference from full labels."""
        from labelattack.measures import registry

        path = f"measures.{registry.name_of(cls)}.metrics"
        return [
            column
            for metric in cls.metrics
            for column in (
                Column(metric.label, f"{path}.{metric.name}.mean", _value_text(metric)),
                Column(
                    f"{metric.label} vs full",
                    f"{path}.{metric.name}.to_reference",
                    _difference_text(metric),
                ),
            )
        ]

    @classmethod
    def remarks(cls, summaries: Sequence[Summary]) -> list[str]:
        """Remarks on a board beside its numbers.

        Args:
            summaries: Those of its rows, in their order; at least one.
        """
        from labelattack.measures import registry

        name = registry.name_of(cls)
        better = ", ".join(
            f"{metric.label}: {'higher' if metric.higher_is_better else 'lower'} is better"
            for metric in cls.metrics
        )
        ways = sorted({s.how for s in summaries if isinstance(s, MetricsSummary)})
        return [f"{name}: {better}; {how}" for how in ways]

    @classmethod
    def legend(cls, *, wide: bool) -> str:
        """Explanation below the board of a terminal; empty if the remarks suffice.

        Args:
            wide: Whether columns that give way to wide ones are left out.
        """
        return ""


class Derived(ABC):
    """A measure derived from the runs of a board: nothing is stored, nothing has to be asked for.

    Attributes:
        metrics: Its numbers.
    """

    metrics: ClassVar[tuple[Metric, ...]]

    @classmethod
    def of_row(
        cls, seeds: Mapping[int, CleanScores], reference: Mapping[int, CleanScores]
    ) -> Summary | None:
        """Summary of a row; None if this is no measure of rows.

        Args:
            seeds: Scores on clean test labels of each seed.
            reference: Those of the full-label reference.
        """
        return None

    @classmethod
    def of_family(
        cls, by_rate: Mapping[float, Mapping[int, float]], reference: Mapping[int, float]
    ) -> Summary | None:
        """Summary of a defense over the rates of an attack; None if this is no measure of those.

        Args:
            by_rate: Test mAP of each seed in points, by rate.
            reference: Test mAP of the full-label reference, by seed.
        """
        return None

    @classmethod
    def columns(cls) -> list[Column]:
        """Columns of boards."""
        return []


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


def _value_text(metric: Metric) -> Callable[[Summary], str]:
    def text(summary: Summary) -> str:
        found = summary.metric(metric.name)
        return (
            "-"
            if found is None
            else with_interval(found.mean, found.interval, digits=metric.digits)
        )

    return text


def _difference_text(metric: Metric) -> Callable[[Summary], str]:
    def text(summary: Summary) -> str:
        found = summary.metric(metric.name)
        return (
            "-"
            if found is None
            else with_interval(
                found.to_reference, found.to_reference_interval, signed=True, digits=metric.digits
            )
        )

    return text
