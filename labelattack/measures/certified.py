"""Certified mAP: what no change of the labels of r training images can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import numpy as np
from pydantic import Field

from labelattack.errors import ParameterError
from labelattack.labels import PartialLabels
from labelattack.measures import register
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MeasuredValues, Metric, Outcome
from labelattack.measures.summary import (
    Column,
    MetricsSummary,
    Summary,
    metric_summary,
)
from labelattack.metrics.average_precision import chance_map
from labelattack.metrics.certificate import certified_map
from labelattack.metrics.statistics import estimate

if TYPE_CHECKING:
    from labelattack.measures.run import Setup, TrainedRun


class CertifiedSummary(MetricsSummary):
    """Certified mAP of a row over seeds.

    Attributes:
        curve: Certified mAP in points, mean over seeds, for labels of 0, 1, ... images changed; the
            first is test mAP, ties broken against it, and the last holds for any number.
        intervals: Half-widths of its 95 % Student-t intervals; None for a single seed.
        chance: mAP of scores that tell nothing, in points.
        images_changed: Mean number of training images whose labels the row's own attack changed;
            None if that is unknown.
    """

    curve: list[float]
    intervals: list[float | None]
    chance: float
    images_changed: float | None


@register("certified")
class Certified(Measure):
    """Lower bound of test mAP after any change of the labels of r training images.

    Needs a protocol with parts, ``linear:parts=50``: each network of the ensemble is a function of
    the labels of its own part, so that labels of r images change at most r networks, and the median
    of the networks' scores keeps an order that bounds average precision from below; see
    [certified_map][labelattack.metrics.certificate.certified_map]. The labels that may change are
    those that the row's attack leaves, any of them to anything, and validation labels, too. Images,
    the division into parts, the recipe, and what a dataset declares may not.

    ``certified_map`` is the bound for ``at`` images; ``certified_half`` the largest number of
    images at which half of what was learned is certain: (bound - chance) >= (mAP - chance) / 2;
    ``certified_area`` the sum over 1, 2, ... images of (bound - chance) / (mAP - chance) where the
    bound is above chance: the number of images, each counted by what is certain.

    Args:
        at: Number of training images for ``certified_map``.
    """

    references: ClassVar[str] = "levine2021 hammoudeh2023"
    summary: ClassVar[type[Summary]] = CertifiedSummary
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("certified_map", "certified mAP", unit="points"),
        Metric("certified_half", "half certified to", unit="images"),
        Metric("certified_area", "certified area", unit="images"),
    )

    needs_parts: ClassVar[bool] = True

    at: Annotated[int, Field(ge=1, le=1_000_000)] = 10

    def prepare(self, setup: Setup) -> None:
        """Fails if the protocol trains one network on all images."""
        trained = hasattr(setup, "trained")  # what there is decides then, wherever it was trained
        if setup.training.parts == 1 and not trained:
            raise ParameterError(
                "measure 'certified' must have a protocol with parts, such as "
                f"{setup.protocol.partition(':')[0]}:parts=50, got '{setup.protocol}'"
            )

    def measure(self, run: TrainedRun) -> MeasuredValues:
        """Scores the test images with each network of the ensemble."""
        test = run.splits.test
        scores = run.member_scores
        if scores is None:
            raise ParameterError(
                "measure 'certified' must have a MedianEnsemble over parts of the training images, "
                f"got a {type(run.trained).__name__}; certified_map of "
                "labelattack.metrics.certificate takes the scores of any networks"
            )
        bound = certified_map(scores, test.labels, scored=test.counted)
        chance = chance_map(test.labels, scored=test.counted)
        learned = bound[0] - chance
        shares = (bound - chance) / learned if learned > 0 else np.zeros_like(bound)
        defined = bool(np.isfinite(bound[0])) and learned > 0
        changed = None
        if run.attacked is not None:
            with suppress(ParameterError):  # a network from elsewhere, without its training labels
                _, after = run.attacked()
                changed = images_changed(run.splits.train.partial, after)
        return self.values(
            len(test),
            certified_map=float(bound[min(self.at, len(bound) - 1)]),
            certified_half=float(np.flatnonzero(shares >= 0.5).max()) if defined else None,
            certified_area=float(shares[1:].clip(min=0).sum()) if defined else None,
            details={
                "parts": scores.shape[1],
                "curve": [float(value) for value in bound],
                "chance": chance,
                "images_changed": changed,
            },
        )

    @classmethod
    def summarise(
        cls, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]
    ) -> CertifiedSummary:
        """Metrics and curve over the seeds of a row."""
        details = [cast(MeasuredValues, outcome).details for outcome in seeds.values()]
        curves = 100 * np.array([cast("list[float]", each["curve"]) for each in details])
        points = [estimate(column.tolist()) for column in curves.T]
        changed = [cast("int | None", each["images_changed"]) for each in details]
        known = [number for number in changed if number is not None]
        return CertifiedSummary(
            how=next(iter(seeds.values())).how(),
            metrics={
                metric.name: metric_summary(metric, seeds, reference) for metric in cls.metrics
            },
            curve=[point.mean for point in points],
            intervals=[point.half_width for point in points],
            chance=100 * cast(float, details[0]["chance"]),
            images_changed=sum(known) / len(known) if len(known) == len(changed) else None,
        )

    @classmethod
    def columns(cls) -> list[Column]:
        """Each metric; differences between certificates say little."""
        return [column for column in super().columns() if not column.heading.endswith("vs full")]

    @classmethod
    def remarks(cls, summaries: Sequence[Summary]) -> list[str]:
        """Meaning of the columns."""
        ways = sorted({s.how for s in summaries if isinstance(s, MetricsSummary)})
        return [
            "certified: the least test mAP after any change of the labels of so many training "
            "images as 'at' says; the largest number of images at which half of what was learned "
            f"is certain; the area under what is certain; higher is better; {how}"
            for how in ways
        ]


def images_changed(before: PartialLabels, after: PartialLabels) -> int:
    """Number of images that have other labels after an attack than before."""
    same = (before.positives == after.positives) & (before.negatives == after.negatives)
    return int((~same.all(axis=1)).sum())
