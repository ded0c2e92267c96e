"""A closer look at stored runs: sensitivity of the D-Score, and agreement with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field
from torch import nn

from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.diagnosing import looks_of
from labelattack.datasets.base import Split
from labelattack.measures._d_score.distributions import (
    Distance,
    DScore,
    Looks,
    distance,
    distribution,
    fitness,
    robustness,
)
from labelattack.measures._d_score.outcome import Diagnosis
from labelattack.measures._d_score.scoring import box_densities, diagnose, shape_of
from labelattack.measures._d_score.settings import DScoreSettings
from labelattack.models import registry as models
from labelattack.training.hardware import resolve_device

USUAL_GRIDS = (3, 5)


class Variant(BaseModel):
    """The D-Score under another grid or distance; other settings as in the main result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: str
    distance: Distance
    robustness: float | None
    fitness: float | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def d_score(self) -> float | None:
        """Fitness - robustness."""
        return DScore(self.robustness, self.fitness).value


class BoxAgreement(BaseModel):
    """How shifting and ground-truth boxes agree on where the data set's features are.

    Attributes:
        boxes: Share of box mass in each cell, row by row.
        agreement: 1 - distance of the two feature distributions; None if shifting is undefined.
        fitness: Fitness of the attention to the boxes instead; None if the attention is undefined.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    boxes: list[float]
    agreement: float | None
    fitness: float | None


class Scoring(BaseModel):
    """Everything that ``labelattack score`` says of one network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    diagnosis: Diagnosis
    sensitivity: list[Variant]
    boxes: BoxAgreement | None


def usual_grids(
    dataset: str, model: str, settings: DScoreSettings, *, device: str = "cpu"
) -> list[int]:
    """Those of USUAL_GRIDS that a model's last stage allows and that are not the main one."""
    stage = shape_of(load(dataset), models.resolve(model), settings, device=resolve_device(device))
    finest = min(stage.height, stage.width)
    return [g for g in USUAL_GRIDS if g <= finest and g not in (stage.rows, stage.columns)]


def score_network(
    name: str,
    dataset: str,
    model: str,
    network: nn.Module,
    settings: DScoreSettings,
    *,
    grids: Sequence[int] = (),
    device: str = "cpu",
) -> tuple[Scoring, Looks, Split]:
    """Scores a network, with the sensitivity of the result to grid and distance.

    Args:
        name: What to call it.
        dataset: Resolved spec.
        model: Resolved spec.
        network: The whole network, or under the linear protocol the head.
        settings: How to measure.
        grids: Other grids to measure on.
        device: Where to compute.

    Returns:
        The scores, and the logits and images that they come from.

    Raises:
        ParameterError: If a grid is finer than the last stage's map.
    """
    looks, test, stage = looks_of(dataset, model, network, settings, device=device)
    found = diagnose(looks, test, stage, settings)
    diagnoses = [found]
    for grid in grids:
        other = settings.model_copy(update={"grid": grid, "resamples": 0})
        diagnoses.append(diagnose(*looks_of(dataset, model, network, other, device=device), other))
    variants = [_variant(each, kind) for each in diagnoses for kind in get_args(Distance)]
    scoring = Scoring(
        name=name, diagnosis=found, sensitivity=variants, boxes=_box_agreement(found, test)
    )
    return scoring, looks, test


def _variant(found: Diagnosis, kind: Distance) -> Variant:
    attention, features = _array(found.attention), _array(found.features)
    robust = None if attention is None else float(robustness(attention, kind))
    fit = None
    if attention is not None and features is not None:
        fit = float(fitness(attention, features, kind))
    grid = f"{found.rows} x {found.columns}"
    return Variant(grid=grid, distance=kind, robustness=robust, fitness=fit)


def _box_agreement(found: Diagnosis, test: Split) -> BoxAgreement | None:
    if test.boxes is None:
        return None
    boxes = distribution(box_densities(test, found.rows, found.columns).sum(axis=0))
    attention, features = _array(found.attention), _array(found.features)
    kind = found.settings.distance
    return BoxAgreement(
        boxes=boxes.tolist(),
        agreement=None if features is None else 1 - float(distance(features, boxes, kind)),
        fitness=None if attention is None else float(fitness(attention, boxes, kind)),
    )


def _array(values: list[float] | None) -> np.ndarray | None:
    return None if values is None else np.array(values)
