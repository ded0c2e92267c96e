"""What measuring a D-Score comes to."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.measures._d_score.distributions import DScore
from labelattack.measures._d_score.settings import DScoreSettings

VERSION = 1
Interval = tuple[float, float]


class Diagnosis(BaseModel):
    """Where a model looks, and how well that fits the data.

    Attributes:
        version: Version of the measurement.
        settings: How it was measured.
        operator_version: Version of the mutation operator, with a hash of its code if edited.
        rows: Rows of the grid.
        columns: Columns of the grid.
        images: Number of images used.
        attention: Share of each cell, row by row; None if no deletion costs evidence.
        features: The same of the data set's features; None if no region holds evidence.
        robustness: Distance of attention from uniform, in [0, 1], lower is better.
        fitness: 1 - distance of attention from features, in [0, 1], higher is better.
        robustness_interval: 95 % bootstrap interval over images.
        fitness_interval: Likewise.
        d_score_interval: Likewise, of the difference.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

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
        """Fitness - robustness, in [-1, 1]."""
        return DScore(self.robustness, self.fitness).value
