"""Contract of a measure: its metrics, its outcome of one run, its summary over seeds, its columns.

Light enough for whoever only reads records: files of measures import torch where they measure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from labelattack.measures.outcome import MeasuredValues as MeasuredValues
from labelattack.measures.outcome import Metric as Metric
from labelattack.measures.outcome import Outcome as Outcome
from labelattack.measures.summary import Column as Column
from labelattack.measures.summary import MetricsSummary, metric_summary
from labelattack.measures.summary import Summary as Summary
from labelattack.metrics.text import with_interval

if TYPE_CHECKING:
    from labelattack.measures.clean_scores import CleanScores
    from labelattack.measures.run import Setup, TrainedRun


class Measure(BaseModel, ABC):
    """A measure of trained networks; its fields are its settings: ``calibration:bins=15``.

    Attributes:
        version: Raised whenever equal settings give other numbers than before.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        outcome: Class of its outcomes.
        summary: Class of its summaries.
        metrics: Its numbers.
        on: ``selected runs`` if it is taken only of the runs that boards show, because it takes
            longer than training: where several recipes are searched, of the selected one.
        needs_parts: Whether it is taken only of ensembles over parts of the training images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int] = 1
    references: ClassVar[str] = ""
    outcome: ClassVar[type[Outcome]] = MeasuredValues
    summary: ClassVar[type[Summary]] = MetricsSummary
    metrics: ClassVar[tuple[Metric, ...]]
    on: ClassVar[Literal["every run", "selected runs"]] = "every run"
    needs_parts: ClassVar[bool] = False

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
        summary: Class of its summaries.
        metrics: Its numbers.
    """

    summary: ClassVar[type[Summary]]
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
