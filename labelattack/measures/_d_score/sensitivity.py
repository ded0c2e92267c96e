"""Sensitivity of the D-Score to grid and distance, and agreement with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from labelattack.datasets.base import Split
from labelattack.measures._d_score.distributions import (
    AblationLogits,
    Distance,
    DScore,
    attention_nonuniformity,
    distance,
    distribution,
    fitness,
)
from labelattack.measures._d_score.logits import logits_of, stage_of
from labelattack.measures._d_score.scoring import box_densities, diagnose
from labelattack.measures.clean_scores import CleanScores
from labelattack.measures.d_score import Diagnosis, DScoreSettings
from labelattack.measures.run import Setup, TrainedRun

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
    """Agreement of shifting and ground-truth boxes on where the data set's features are.

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
    """Everything that ``labelattack score`` says of one network.

    Attributes:
        name: Name of the network.
        test: mAP on all test images, and what goes with it.
        diagnosis: D-Score; None if it was not asked for or cannot be measured.
        sensitivity: D-Score under other grids and distances.
        boxes: Agreement with boxes, if the dataset has some.
        note: Reason why the D-Score cannot be measured; empty otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    test: CleanScores | None = None
    diagnosis: Diagnosis | None = None
    sensitivity: list[Variant] = []
    boxes: BoxAgreement | None = None
    note: str = ""


def usual_grids(setup: Setup, settings: DScoreSettings) -> list[int]:
    """Grids of USUAL_GRIDS that a model's last stage allows, without the main one."""
    stage = stage_of(setup, settings)
    finest = min(stage.height, stage.width)
    return [g for g in USUAL_GRIDS if g <= finest and g not in (stage.rows, stage.columns)]


def score_network(
    name: str, run: TrainedRun, settings: DScoreSettings, *, grids: Sequence[int] = ()
) -> tuple[Scoring, AblationLogits, Split]:
    """Scores a network, with the sensitivity of the result to grid and distance.

    Args:
        name: Name of the network.
        run: The trained network.
        settings: How to measure.
        grids: Other grids to measure on.

    Returns:
        The scores, and the logits and images that they come from.

    Raises:
        ParameterError: If a grid is finer than the last stage's map.
    """
    looks, test, stage = logits_of(run, settings)
    found = diagnose(looks, test, stage, settings)
    diagnoses = [found]
    for grid in grids:
        other = settings.model_copy(update={"grid": grid, "resamples": 0})
        diagnoses.append(diagnose(*logits_of(run, other), other))
    variants = [_variant(each, kind) for each in diagnoses for kind in get_args(Distance)]
    scoring = Scoring(
        name=name, diagnosis=found, sensitivity=variants, boxes=_box_agreement(found, test)
    )
    return scoring, looks, test


def _variant(found: Diagnosis, kind: Distance) -> Variant:
    attention, features = _array(found.attention), _array(found.features)
    robust = None if attention is None else float(attention_nonuniformity(attention, kind))
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
