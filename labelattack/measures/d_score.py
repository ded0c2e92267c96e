"""D-Score: where a trained network looks, set against where the evidence in the images is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, computed_field

from labelattack.measures import register
from labelattack.measures._d_score.choices import CHEAP_OPERATOR, Border
from labelattack.measures._d_score.distributions import Distance, DScore, Evidence
from labelattack.measures.base import Measure
from labelattack.measures.outcome import Metric, Outcome
from labelattack.measures.summary import Column, MetricSummary, Summary, metric_summary
from labelattack.metrics.text import with_interval
from labelattack.mutations import registry as mutations

if TYPE_CHECKING:
    from torch import nn

    from labelattack.datasets.base import Split
    from labelattack.measures.run import Setup, TrainedRun
    from labelattack.training.inputs import Inputs

Interval = tuple[float, float]
VERSION = 1


class Diagnosis(Outcome):
    """D-Score of one network, with its parts.

    Attributes:
        version: Version of the measurement.
        settings: How it was measured.
        operator_version: Version of the mutation operator, with a hash of its code if edited.
        rows: Rows of the grid.
        columns: Columns of the grid.
        images: Number of images used.
        attention: Share of each patch, row by row; None if no deletion costs evidence.
        features: The same of the data set's features; None if no region holds evidence.
        robustness: Attention non-uniformity: distance of attention from uniform, in [0, 1], lower
            is better.
        fitness: 1 - distance of attention from features, in [0, 1], higher is better.
        robustness_interval: 95 % bootstrap interval over images.
        fitness_interval: 95 % bootstrap interval over images.
        d_score_interval: 95 % bootstrap interval over images, of the difference.
    """

    version: int = VERSION
    settings: DScoreSettings
    operator_version: str = "1"
    rows: int
    columns: int
    images: int
    attention: list[float] | None
    features: list[float] | None
    robustness: float | None
    fitness: float | None
    robustness_interval: Interval | None = None
    fitness_interval: Interval | None = None
    d_score_interval: Interval | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def d_score(self) -> float | None:
        """Fitness - attention non-uniformity, in [-1, 1]."""
        return DScore(self.robustness, self.fitness).value

    def how(self) -> str:
        """Version, settings that are not the defaults, and the operator's version if edited."""
        changes = self.settings.changes()
        edited = f", operator version {self.operator_version}" * (self.operator_version != "1")
        return f"version {self.version}{changes and f', {changes}'}{edited}"


class DScoreSummary(Summary):
    """D-Score over the seeds of a row; means, and half-widths of 95 % intervals.

    Attributes:
        robustness: Attention non-uniformity, lower is better.
        robustness_interval: Half-width of its interval over seeds; for a single seed over images.
        fitness: 1 - distance of attention from features, higher is better.
        fitness_interval: Half-width of its interval.
        d_score_interval: Half-width of the interval of the difference.
        d_score: Fitness - attention non-uniformity.
        differences: Each metric's difference from the reference.
    """

    robustness: float | None
    robustness_interval: float | None
    fitness: float | None
    fitness_interval: float | None
    d_score_interval: float | None
    d_score: float | None
    differences: dict[str, tuple[float | None, float | None]] = Field(default={}, exclude=True)

    def metric(self, name: str) -> MetricSummary | None:
        """One metric; None if the summary has none of that name."""
        if name not in ("robustness", "fitness", "d_score"):
            return None
        apart, half_width = self.differences.get(name, (None, None))
        return MetricSummary(
            mean=getattr(self, name),
            interval=getattr(self, f"{name}_interval"),
            to_reference=apart,
            to_reference_interval=half_width,
        )


@register("d-score")
class DScoreSettings(Measure):
    """D-Score: does the network look where the evidence is?

    Args:
        grid: Patches along each side; None takes the last stage's own size, at most 7.
        operator: Spec of the mutation operator.
        evidence: ``margin`` of logits, or ``map``.
        distance: ``jensen-shannon`` or ``total-variation``.
        features: Feature distribution by ``shifting`` the image, or from ground-truth ``boxes``.
        border: What enters the image when it is shifted: ``zero`` (the mean colour), ``edge``,
            ``reflect``, ``wrap``.
        step: Every step-th region is measured along each side, the others are interpolated.
        zoom: Enlargement of a region when it is shown.
        images: Most test images used; they are drawn so that rare labels are among them.
        resamples: Bootstrap resamples of the images for the intervals; 0 for none.
        seed: Seed of the draws.
    """

    references: ClassVar[str] = "zhang2023 zhang2024"
    version: ClassVar[int] = VERSION
    outcome: ClassVar[type[Outcome]] = Diagnosis
    summary: ClassVar[type[Summary]] = DScoreSummary
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("robustness", "robustness", higher_is_better=False),
        Metric("fitness", "fitness"),
        Metric("d_score", "D-Score"),
    )

    grid: Annotated[int | None, Field(ge=2)] = None
    operator: str = CHEAP_OPERATOR
    evidence: Evidence = "margin"
    distance: Distance = "jensen-shannon"
    features: Literal["shifting", "boxes"] = "shifting"
    border: Border = "zero"
    step: Annotated[int, Field(ge=1)] = 1
    zoom: Annotated[float, Field(ge=1, le=4)] = 1.0
    images: Annotated[int, Field(ge=2)] = 250
    resamples: Annotated[int, Field(ge=0)] = 200
    seed: Annotated[int, Field(ge=0)] = 0

    def changes(self) -> str:
        """Settings that differ from the defaults, as ``name=value, ...``."""
        values = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={value}" for name, value in values.items())

    def resolved(self) -> DScoreSettings:
        """The same with the operator's spec in full."""
        return self.model_copy(update={"operator": str(mutations.resolve(self.operator))})

    def prepare(self, setup: Setup) -> None:
        """Finds what cannot be measured, and fills the cache.

        Raises:
            ParameterError: If the grid does not fit the model's last stage.
            DatasetError: If boxes are asked for and the dataset has none.
        """
        from labelattack.measures._d_score.logits import prepare

        prepare(setup, self)

    def measure(self, run: TrainedRun) -> Diagnosis:
        """Measures the whole network, or where only a head was trained that."""
        from labelattack.measures._d_score.logits import logits_of
        from labelattack.measures._d_score.scoring import diagnose

        return diagnose(*logits_of(run, self), self)

    def is_outcome(self, outcome: Outcome) -> bool:
        """Whether an outcome is of these settings, this version and the operator at hand."""
        return isinstance(outcome, Diagnosis) and (
            outcome.version, outcome.settings, outcome.operator_version
        ) == (self.version, self, mutations.version(self.operator))  # fmt: skip

    @classmethod
    def summarise(
        cls, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]
    ) -> DScoreSummary:
        """Summary over the seeds of a row."""
        each = {metric.name: metric_summary(metric, seeds, reference) for metric in cls.metrics}
        robust, fitting = each["robustness"], each["fitness"]
        return DScoreSummary(
            robustness=robust.mean,
            robustness_interval=robust.interval,
            fitness=fitting.mean,
            fitness_interval=fitting.interval,
            d_score_interval=each["d_score"].interval,
            d_score=DScore(robust.mean, fitting.mean).value,
            differences={
                name: (of.to_reference, of.to_reference_interval) for name, of in each.items()
            },
        )

    @classmethod
    def title(cls) -> str:
        """Name of the measure in notes."""
        return "D-Score"

    @classmethod
    def notes(cls, outcomes: Sequence[Outcome]) -> list[str]:
        """Settings that differ from the defaults."""
        ways = {o.settings.changes() for o in outcomes if isinstance(o, Diagnosis)}
        return [f"D-Score: {way}" for way in sorted(ways) if way]

    @classmethod
    def columns(cls) -> list[Column]:
        """The D-Score and its parts."""
        return [
            Column("robustness", "robustness", _text("robustness"), always=True, gives_way=True),
            Column("fitness", "fitness", _text("fitness"), always=True, gives_way=True),
            Column("D-Score", "d_score", _text("d_score"), always=True),
        ]

    @classmethod
    def remarks(cls, summaries: Sequence[Summary]) -> list[str]:
        """None: rows note their settings."""
        return []

    @classmethod
    def legend(cls, *, wide: bool) -> str:
        """Directions of the columns."""
        return (
            "robustness: attention non-uniformity, lower is better; fitness and D-Score: higher is "
            "better. They say where the model looks." + " Its parts: show --format markdown." * wide
        )


def d_score(
    network: nn.Module,
    split: Split,
    inputs: Inputs,
    *,
    stage: str,
    settings: DScoreSettings | None = None,
) -> Diagnosis:
    """D-Score of any network that names its last spatial stage.

    Args:
        network: Maps a batch of images to logits ``[batch, labels]``.
        split: Images with clean labels.
        inputs: The same images as the network takes them.
        stage: Name of the module whose output is the last spatial stage, e.g. ``"layer4"``.
        settings: How to measure; ``settings.images`` is not applied here: all are used.

    Returns:
        The diagnosis.
    """
    from labelattack.measures._d_score.scoring import ablation_logits_of_network, diagnose

    chosen = settings or DScoreSettings()
    looks, found = ablation_logits_of_network(network, stage, inputs, chosen)
    return diagnose(looks, split, found, chosen)


def _text(name: str) -> Callable[[Any], str]:
    def text(summary: DScoreSummary) -> str:
        return with_interval(getattr(summary, name), getattr(summary, f"{name}_interval"), digits=3)

    return text


Diagnosis.model_rebuild()
