"""Every choice that a D-Score depends on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from labelattack.measures._d_score.distributions import Distance, Evidence

Border = Literal["zero", "edge", "reflect", "wrap"]
MAX_GRID = 7
CHEAP_OPERATOR = "delete-cell"  # for linear heads a matrix product on cached features


class DScoreSettings(BaseModel):
    """How a D-Score is measured.

    Attributes:
        grid: Cells along each side; None takes the last stage's own size, at most 7.
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: int | None = Field(default=None, ge=2)
    operator: str = CHEAP_OPERATOR
    evidence: Evidence = "margin"
    distance: Distance = "jensen-shannon"
    features: Literal["shifting", "boxes"] = "shifting"
    border: Border = "zero"
    step: int = Field(default=1, ge=1)
    zoom: float = Field(default=1.0, ge=1, le=4)
    images: int = Field(default=250, ge=2)
    resamples: int = Field(default=200, ge=0)
    seed: int = Field(default=0, ge=0)

    def changes(self) -> str:
        """What differs from the defaults, as ``name=value, ...``."""
        values = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={value}" for name, value in values.items())
