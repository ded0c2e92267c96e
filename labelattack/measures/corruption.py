"""mAP under common corruptions of test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from labelattack.corruptions import STANDARD
from labelattack.corruptions import registry as corruptions
from labelattack.corruptions.tables import SEVERITIES, Table
from labelattack.errors import unknown
from labelattack.measures import register
from labelattack.measures._perturbed import Perturbed, PerturbedMeasure
from labelattack.measures.outcome import Metric, Outcome

if TYPE_CHECKING:
    from labelattack.measures.run import Setup, TrainedRun

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
    by_severity: dict[str, tuple[float, ...]]


def _known(kinds: str | None) -> str | None:
    names = [] if kinds is None else kinds.split("+")
    for name in names:
        if name not in corruptions.names():
            raise ValueError(str(unknown("corruption", name, corruptions.names())))
        if names.count(name) > 1:
            raise ValueError(f"must name {name} once, got '{kinds}'")
    return kinds


@register("corruption")
class CorruptionSettings(PerturbedMeasure):
    """mAP under common corruptions of test images.

    Each of gaussian-noise, gaussian-blur, contrast, jpeg, translation and rescaling at five
    severities, on images as the model takes them.

    Args:
        table: Whose severities: those of ``imagenet-c`` (for 224 pixels) or ``cifar-10-c`` (for
            32), Hendrycks and Dietterich 2019, arXiv:1903.12261; None takes the latter for images
            of less than 64 pixels.
        kinds: Names of corruptions joined by ``+``, any of ``labelattack list corruptions``; None
            for the six standard ones.
        images: Most test images used; they are drawn so that rare labels are among them.
        seed: Seed of the draw and of the noise.
    """

    references: ClassVar[str] = "hendrycks2019"
    outcome: ClassVar[type[Outcome]] = Corrupted
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("corruption", "corruption", unit="points"),)

    table: Table | None = None
    kinds: Annotated[str | None, AfterValidator(_known)] = None
    images: Annotated[int, Field(ge=2)] = 250
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the corruptions."""
        return STANDARD if self.kinds is None else tuple(self.kinds.split("+"))

    @model_serializer(mode="wrap")
    def _without_usual_kinds(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records name the corruptions where they are not the standard ones."""
        fields: dict[str, Any] = handler(self)
        if self.kinds is None:
            fields.pop("kinds", None)
        return fields

    def table_for(self, side: int) -> Table:
        """The table for images of a short side of so many pixels."""
        return self.table or ("cifar-10-c" if side < _SMALL else "imagenet-c")

    def describe(self) -> str:
        """Corruptions and severities in words."""
        named = f" ({', '.join(self.names)})" if self.kinds else ""
        made = f", severities of {self.table}" if self.table else ""
        several = f"{len(self.names)} corruptions{named}"
        return f"mean over {several} x {len(SEVERITIES)} severities{made}"

    def prepare(self, setup: Setup) -> None:
        """Extracts the features of corrupted images, where heads are trained on features."""
        from labelattack.measures._corruption import corrupted_inputs

        if setup.training.on_features:
            corrupted_inputs(setup, self)

    def measure(self, run: TrainedRun) -> Corrupted:
        """Scores the test images as they are and under each corruption and severity."""
        from labelattack.measures._corruption import corrupted_run

        return corrupted_run(run, self)


Corrupted.model_rebuild()
