"""Every choice that robustness to changed pixels depends on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from labelattack.errors import ParameterError
from labelattack.registry.parameters import settings
from labelattack.registry.spec import Spec

Objective = Literal["strongest", "margin", "cross-entropy"]
Norm = Literal["linf", "l2"]
Table = Literal["imagenet-c", "cifar-10-c"]
Corruption = Literal[
    "gaussian-noise", "gaussian-blur", "contrast", "jpeg", "translation", "rescaling"
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = (1, 2, 3, 4, 5)
_SMALL = 64  # pixels of the short side, from which images are more like ImageNet's than CIFAR's


def _number(value: object) -> object:
    """``2/255``, as the field writes radii, is a number too."""
    try:
        above, _, below = value.partition("/") if isinstance(value, str) else ("", "", "")
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return value


class EvasionSettings(BaseModel):
    """How an evasion attack is made.

    Projected gradient descent (Madry et al. 2018, arXiv:1706.06083) from the image itself, with
    steps of 2.5 eps / steps.

    Attributes:
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective = "strongest"
    norm: Norm = "linf"
    eps: Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)] = 4 / 255
    steps: int = Field(default=10, ge=1, le=10_000)
    images: int = Field(default=250, ge=2)
    seed: int = Field(default=0, ge=0)

    @field_validator("eps")
    @classmethod
    def _of_pixels(cls, eps: float, info: ValidationInfo) -> float:
        # Whoever writes 2 for 2/255 would be told the score of images that are anything at all.
        if eps > 1 and info.data.get("norm") == "linf":
            raise ValueError(f"must be at most 1 in linf, got {eps:g}; 2 levels of 255 are 2/255")
        return eps

    @property
    def objectives(self) -> tuple[Literal["margin", "cross-entropy"], ...]:
        """What is tried."""
        return ("margin", "cross-entropy") if self.objective == "strongest" else (self.objective,)

    @property
    def step_size(self) -> float:
        """Length of a step."""
        return 2.5 * self.eps / self.steps

    def describe(self) -> str:
        """What people read."""
        levels = round(255 * self.eps, 6)
        radius = f"{levels:g}/255" if self.norm == "linf" else f"{self.eps:g}"
        tried = " or ".join(self.objectives)
        return f"PGD on {tried}, {self.norm}, eps {radius}, {self.steps} steps"


class CorruptionSettings(BaseModel):
    """How test images are corrupted.

    Each of gaussian-noise, gaussian-blur, contrast, jpeg, translation and rescaling at five
    severities, on images as the model takes them.

    Attributes:
        table: Whose severities: those of ``imagenet-c`` (for 224 pixels) or ``cifar-10-c`` (for
            32), Hendrycks and Dietterich 2019, arXiv:1903.12261; None takes the latter for images
            of less than 64 pixels.
        images: Most test images used; they are drawn so that rare labels are among them.
        seed: Seed of the draw and of the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Shakes(BaseModel):
    """What is done to test images; None for what is not.

    Attributes:
        evasion: How they are attacked.
        corruption: How they are corrupted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    evasion: EvasionSettings | None = None
    corruption: CorruptionSettings | None = None


def read_robustness(texts: Iterable[str]) -> Shakes:
    """Reads what ``--robustness`` takes.

    Args:
        texts: Specs, several in one text separated by commas:
            ``evasion:eps=2/255,steps=10,corruption``.

    Raises:
        UnknownNameError: If something else is to be measured.
        ParameterError: If one is named twice, or a setting is unknown or out of range.
    """
    found: dict[str, BaseModel] = {}
    for text in texts:
        # A comma before a name parts specs, one before name=value parts settings.
        for item in re.split(r",(?=[\w-]+(?:[:,]|$))", text):
            spec = Spec.parse(item)
            if spec.name in found:
                raise ParameterError(f"--robustness must name {spec.name} once, got it twice")
            found[spec.name] = settings("robustness", spec, _KINDS)
    return Shakes(**found)


_KINDS: dict[str, type[BaseModel]] = {
    "evasion": EvasionSettings,
    "corruption": CorruptionSettings,
}
