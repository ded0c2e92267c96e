"""mAP under an evasion attack on test images."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from labelattack.measures import register
from labelattack.measures._perturbed import Perturbed, PerturbedMeasure
from labelattack.measures.outcome import Metric, Outcome

if TYPE_CHECKING:
    from labelattack.measures.run import Setup, TrainedRun

Objective = Literal["strongest", "margin", "cross-entropy"]
Norm = Literal["linf", "l2"]


class Evaded(Perturbed):
    """mAP under an evasion attack, the least that any of its objectives left.

    Attributes:
        settings: How it was measured.
        by_objective: mAP under each that was tried.
        art: Version of ART that attacked them; empty if unknown.
    """

    settings: EvasionSettings
    by_objective: dict[str, float]
    art: str = ""


def _number(value: object) -> object:
    """``2/255``, as the field writes radii, is a number too."""
    try:
        above, _, below = value.partition("/") if isinstance(value, str) else ("", "", "")
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return value


@register("evasion")
class EvasionSettings(PerturbedMeasure):
    """mAP under an evasion attack on test images.

    Projected gradient descent (Madry et al. 2018, arXiv:1706.06083) from the image itself, with
    steps of 2.5 eps / steps.

    Args:
        objective: What it raises: ``margin``, the mean logit of absent labels minus that of present
            ones, which asks nothing of how probabilities are calibrated; ``cross-entropy``, the
            binary one with the true labels; or ``strongest``: both are tried, and what leaves less
            mAP counts.
        norm: Of the ball: ``linf`` or ``l2``.
        eps: Radius of the ball, of pixels in [0, 1]; ``2/255`` is understood. At most 1 in
            ``linf``, which is every image.
        steps: Steps of the attack.
        images: Most test images used; they are drawn so that rare labels are among them.
        seed: Seed of the draw.
    """

    references: ClassVar[str] = "madry2018 nicolae2018"
    outcome: ClassVar[type[Outcome]] = Evaded
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("evasion", "evasion", unit="points"),)
    on: ClassVar[Literal["every run", "selected runs"]] = "selected runs"

    objective: Objective = "strongest"
    norm: Norm = "linf"
    eps: Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)] = 4 / 255
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10
    images: Annotated[int, Field(ge=2)] = 250
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("eps")
    @classmethod
    def _of_pixels(cls, eps: float, info: ValidationInfo) -> float:
        # Whoever writes 2 for 2/255 would be told the score of images that are anything at all.
        if eps > 1 and info.data.get("norm") == "linf":
            raise ValueError(f"must be at most 1 in linf, got {eps:g}; 2 levels of 255 are 2/255")
        return eps

    @property
    def objectives(self) -> tuple[Literal["margin", "cross-entropy"], ...]:
        """Objectives that are tried."""
        return ("margin", "cross-entropy") if self.objective == "strongest" else (self.objective,)

    @property
    def step_size(self) -> float:
        """Length of a step."""
        return 2.5 * self.eps / self.steps

    def describe(self) -> str:
        """Attack and its strength in words."""
        levels = round(255 * self.eps, 6)
        radius = f"{levels:g}/255" if self.norm == "linf" else f"{self.eps:g}"
        tried = " or ".join(self.objectives)
        return f"PGD on {tried}, {self.norm}, eps {radius}, {self.steps} steps"

    def prepare(self, setup: Setup) -> None:
        """Finds out whether attacks can be made.

        Raises:
            LabelAttackError: If ART is not installed.
        """
        import labelattack.interop.art  # noqa: F401

    def measure(self, run: TrainedRun) -> Evaded:
        """Attacks a copy of the network; a head through its frozen backbone."""
        from labelattack.measures._evasion import evaded

        return evaded(
            deepcopy(run.network),  # the attack changes the memory format
            run.subset(self.images, self.seed),
            run.preprocessing,
            self,
        )


Evaded.model_rebuild()
