"""mAP under common corruptions of test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import Field

from labelattack.measures import register
from labelattack.measures._perturbed import (
    Perturbed,
    PerturbedSummary,
    is_perturbed,
    perturbed_columns,
    perturbed_remarks,
    summarise_perturbed,
)
from labelattack.measures.base import Column, Measure, Metric, Outcome, Summary

if TYPE_CHECKING:
    from labelattack.measures.run import Setup, TrainedRun

Table = Literal["imagenet-c", "cifar-10-c"]
Corruption = Literal[
    "gaussian-noise", "gaussian-blur", "contrast", "jpeg", "translation", "rescaling"
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = (1, 2, 3, 4, 5)
_SMALL = 64  # pixels of the short side, from which images are more like ImageNet's than CIFAR's


class Corrupted(Perturbed):
    """mAP under common corruptions, the mean over them and their severities.

    Attributes:
        settings: How it was measured.
        table: Whose severities.
        by_severity: mAP under each corruption, from severity 1 to 5.
    """

    settings: CorruptionSettings
    table: Table
    by_severity: dict[Corruption, tuple[float, ...]]


@register("corruption")
class CorruptionSettings(Measure):
    """mAP under common corruptions of test images.

    Each of gaussian-noise, gaussian-blur, contrast, jpeg, translation and rescaling at five
    severities, on images as the model takes them.

    Args:
        table: Whose severities: those of ``imagenet-c`` (for 224 pixels) or ``cifar-10-c`` (for
            32), Hendrycks and Dietterich 2019, arXiv:1903.12261; None takes the latter for images
            of less than 64 pixels.
        images: Most test images used; they are drawn so that rare labels are among them.
        seed: Seed of the draw and of the noise.
    """

    outcome: ClassVar[type[Outcome]] = Corrupted
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("corruption", "corruption", unit="points"),)

    table: Table | None = None
    images: int = Field(default=250, ge=2)
    seed: int = Field(default=0, ge=0)

    def table_for(self, side: int) -> Table:
        """The table for images of a short side of so many pixels."""
        return self.table or ("cifar-10-c" if side < _SMALL else "imagenet-c")

    def describe(self) -> str:
        """What people read."""
        made = f", severities of {self.table}" if self.table else ""
        return f"mean over {len(CORRUPTIONS)} corruptions x {len(SEVERITIES)} severities{made}"

    def prepare(self, setup: Setup) -> None:
        """Extracts the features of corrupted images, where heads are trained on features."""
        from labelattack.measures._corruption import corrupted_inputs

        if setup.training.on_features:
            corrupted_inputs(setup, self)

    def measure(self, run: TrainedRun) -> Corrupted:
        """Scores the test images as they are and under each corruption and severity."""
        from labelattack.measures._corruption import corrupted_run

        return corrupted_run(run, self)

    def is_outcome(self, outcome: Outcome) -> bool:
        """Whether an outcome is of these settings and of this version."""
        return is_perturbed(outcome, self)

    @classmethod
    def summarise(
        cls, seeds: Mapping[int, Outcome], reference: Mapping[int, Outcome]
    ) -> PerturbedSummary:
        """Summary over the seeds of a row."""
        return summarise_perturbed(seeds, reference)

    @classmethod
    def columns(cls) -> list[Column]:
        """MAP under corruptions, and in brackets how much of what was learned is left."""
        return perturbed_columns("corruption")

    @classmethod
    def remarks(cls, summaries: Sequence[Summary]) -> list[str]:
        """Meaning of the column, and how it was measured."""
        return perturbed_remarks("corruption", summaries)


Corrupted.model_rebuild()
