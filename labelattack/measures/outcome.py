"""Metrics of a measure, and its outcome of one run."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue


class Metric(NamedTuple):
    """One number of a measure.

    Attributes:
        name: As JSON, TOML and ``check --measure`` have it; unique among all measures.
        label: Heading of its column.
        higher_is_better: Direction; the gate's drops and the ranks of a paper follow it.
        unit: ``points`` are hundredths and written with one digit, as mAP; ``ratio`` is written as
            it is, with three, and ``images``, a number of them, with one.
    """

    name: str
    label: str
    higher_is_better: bool = True
    unit: Literal["points", "ratio", "images"] = "ratio"

    @property
    def scale(self) -> int:
        """Factor from the unit of an outcome to the unit in which the metric is written."""
        return 100 if self.unit == "points" else 1

    @property
    def digits(self) -> int:
        """Decimal digits in texts."""
        return 3 if self.unit == "ratio" else 1


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
