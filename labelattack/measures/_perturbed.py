"""mAP on perturbed test images: the outcome and the summary that evasion and corruption share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from labelattack.measures.base import Measure
from labelattack.measures.outcome import Outcome
from labelattack.measures.summary import Column, MetricSummary, Summary
from labelattack.metrics.statistics import estimate, estimate_all
from labelattack.metrics.text import with_interval

VERSION = 1
KEPT = (
    "how much of what was learned is left, (mAP changed - chance) / (mAP clean - chance): 100 % if "
    "nothing was lost, 0 % at chance"
)
"""Meaning of ``Perturbed.kept``, as boards and docs say it."""


class Perturbed(Outcome):
    """mAP on the same test images, as they are and perturbed; in [0, 1].

    Attributes:
        version: Version of the measurement.
        images: Number of images used.
        clean: mAP on these images as they are.
        map: mAP on them perturbed.
        chance: mAP of scores that are all equal: the mean share of positives.
    """

    version: int = VERSION
    images: int
    clean: float
    map: float
    chance: float

    @property
    def kept(self) -> float | None:
        """Share of what was learned that is left: 1 all, 0 chance; None if nothing was learned."""
        learned = self.clean - self.chance
        return (self.map - self.chance) / learned if learned > 0 else None

    def value(self, metric: str) -> float | None:
        """The mAP on the perturbed images."""
        return self.map

    def how(self) -> str:
        """Version, settings and number of images."""
        settings = cast(Any, self).settings
        return f"version {self.version}, {settings.describe()}, {self.images} images"


class PerturbedSummary(Summary):
    """A row's mAP on perturbed test images, over seeds; differences paired by seed.

    Attributes:
        map: Mean mAP on changed test images, in points.
        interval: Half-width of its 95 % Student-t interval; None for a single seed.
        clean: Mean mAP on the same images as they are, in points.
        chance: mAP of scores that tell nothing, on the same images, in points.
        kept: Mean share of what was learned that is left, (map - chance) / (clean - chance); below
            0 where an attack turns rankings round. None where nothing was learned.
        kept_interval: Half-width of its interval.
        to_reference: Mean difference of ``map`` from that of the full-label reference.
        to_reference_interval: Half-width of its interval.
        kept_to_reference: Mean difference of ``kept`` from that of the reference.
        kept_to_reference_interval: Half-width of its interval.
        how: How it was measured.
    """

    map: float
    interval: float | None
    clean: float
    chance: float
    kept: float | None
    kept_interval: float | None
    to_reference: float | None
    to_reference_interval: float | None
    kept_to_reference: float | None
    kept_to_reference_interval: float | None
    how: str

    def metric(self, name: str) -> MetricSummary | None:
        """The mAP on the perturbed images, in points."""
        return MetricSummary(
            mean=self.map,
            interval=self.interval,
            to_reference=self.to_reference,
            to_reference_interval=self.to_reference_interval,
        )


class PerturbedMeasure(Measure):
    """A measure of mAP on perturbed test images; its outcomes are Perturbed."""

    version: ClassVar[int] = VERSION
    summary: ClassVar[type[Summary]] = PerturbedSummary

    def is_outcome(self, outcome: Outcome) -> bool:
        """Whether an outcome is of these settings and of this version."""
        return isinstance(outcome, Perturbed) and (
            outcome.version, cast(Any, outcome).settings
        ) == (self.version, self)  # fmt: skip

    @classmethod
    def summarise(
        cls, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]
    ) -> PerturbedSummary:
        """Summary over the seeds of a row."""
        return _summary(seeds, reference)

    @classmethod
    def columns(cls) -> list[Column]:
        """The perturbed mAP, and in brackets how much of what was learned is left."""
        name = cls.title()
        return [Column(name, f"{name}.map", _text, always=True, wide=True)]

    @classmethod
    def remarks(cls, summaries: Sequence[Summary]) -> list[str]:
        """Meaning of the column, and how it was measured."""
        ways = {summary.how for summary in summaries if isinstance(summary, PerturbedSummary)}
        return [
            f"{cls.title()}: mAP on changed test images, and in brackets {KEPT}; {how}"
            for how in sorted(ways)
        ]


def _summary(seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]) -> PerturbedSummary:
    """Summary over the seeds of a row.

    Args:
        seeds: Outcome of each seed.
        reference: Outcomes of the full-label reference, measured in the same way.
    """
    found = {seed: outcome for seed, outcome in seeds.items() if isinstance(outcome, Perturbed)}
    before = {s: o for s, o in reference.items() if s in found and isinstance(o, Perturbed)}
    points = {seed: 100 * outcome.map for seed, outcome in found.items()}
    points_before = {seed: 100 * outcome.map for seed, outcome in before.items()}
    shares = {seed: outcome.kept for seed, outcome in found.items()}
    shares_before = {seed: outcome.kept for seed, outcome in before.items()}
    maps = estimate(list(points.values()))
    apart = estimate_all(_differences(points, points_before).values())
    kept = estimate_all(shares.values())
    kept_apart = estimate_all(_differences(shares, shares_before).values())
    first = next(iter(found.values()))
    return PerturbedSummary(
        map=maps.mean,
        interval=maps.half_width,
        clean=estimate([100 * outcome.clean for outcome in found.values()]).mean,
        chance=100 * first.chance,
        kept=kept[0],
        kept_interval=kept[1],
        to_reference=apart[0],
        to_reference_interval=apart[1],
        kept_to_reference=kept_apart[0],
        kept_to_reference_interval=kept_apart[1],
        how=first.how(),
    )


def _text(summary: PerturbedSummary) -> str:
    kept = "" if summary.kept is None else f" ({100 * summary.kept:.0f}%)"
    return with_interval(summary.map, summary.interval) + kept


_Values = Mapping[int, float | None]


def _differences(first: _Values, second: _Values) -> _Values:
    """Of the seeds that the second has."""
    return {
        seed: None if (one := first[seed]) is None or other is None else one - other
        for seed, other in second.items()
    }
