"""Logits that a D-Score is made of, of a trained run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelattack.datasets.base import Split
from labelattack.errors import ParameterError
from labelattack.measures._d_score.ablation import PatchFeatures, mutants
from labelattack.measures._d_score.choices import CHEAP_OPERATOR
from labelattack.measures._d_score.distributions import AblationLogits
from labelattack.measures._d_score.scoring import (
    ablation_logits_of_head,
    ablation_logits_of_network,
    box_densities,
    patch_features,
)
from labelattack.measures._d_score.stage import stage_shape
from labelattack.measures.run import Setup, TrainedRun
from labelattack.mutations.base import Stage
from labelattack.process_cache import ProcessCache

if TYPE_CHECKING:
    from labelattack.measures.d_score import DScoreSettings

_PARTS: ProcessCache[tuple[PatchFeatures, Stage]] = ProcessCache(2)


def logits_of(run: TrainedRun, settings: DScoreSettings) -> tuple[AblationLogits, Split, Stage]:
    """Logits of test images with patches deleted and regions shown alone.

    Args:
        run: The trained network.
        settings: How to measure.

    Returns:
        Logits, the images used (the same for every network on a dataset), and map and grid: the
        arguments of [diagnose][labelattack.measures._d_score.scoring.diagnose].
    """
    test = run.subset(settings.images, settings.seed)
    if run.head is not None and settings.operator == CHEAP_OPERATOR:
        key = run.splits.fingerprint, run.spec, settings, run.compute.device
        parts, stage = _PARTS.get(key, lambda: _parts(run, settings))
        return ablation_logits_of_head(run.head, parts), test, stage
    network, name = run.staged()
    looks, stage = ablation_logits_of_network(network, name, run.inputs(test), settings)
    return looks, test, stage


def prepare(setup: Setup, settings: DScoreSettings) -> None:
    """Finds what cannot be measured before anything is trained, and fills the feature cache.

    Args:
        setup: Dataset, model and protocol.
        settings: How to measure.

    Raises:
        ParameterError: If the grid does not fit the model's last stage, or there is a backbone for
            each part of the training images.
        DatasetError: If boxes are asked for and the dataset has none.
    """
    if not setup.training.has_one_backbone:
        raise ParameterError(
            f"measure 'd-score' must have one backbone, got protocol '{setup.protocol}', which "
            "trains one for each part; give --d-score none"
        )
    stage = stage_of(setup, settings)
    mutants(stage, settings)
    if settings.features == "boxes":
        chosen = setup.subset(settings.images, settings.seed)
        box_densities(chosen, stage.rows, stage.columns)
    if setup.training.on_features and settings.operator == CHEAP_OPERATOR:
        _parts(setup, settings)


def stage_of(setup: Setup, settings: DScoreSettings) -> Stage:
    """Map and grid of the model's last stage.

    Raises:
        ModelError: If its output has no spatial extent.
        ParameterError: If the grid is finer than its map.
    """
    network, name = setup.staged()
    (example,) = setup.inputs(setup.splits.test).stream([np.arange(1)])
    return stage_shape(network.eval(), name, example, grid=settings.grid)


def _parts(setup: Setup, settings: DScoreSettings) -> tuple[PatchFeatures, Stage]:
    stage = stage_of(setup, settings)
    chosen = setup.subset(settings.images, settings.seed)
    return patch_features(chosen, setup.spec, stage, settings, setup.compute), stage
