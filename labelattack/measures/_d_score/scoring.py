"""The D-Score of a network, from images to numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from labelattack.datasets.base import Split
from labelattack.errors import DatasetError, ParameterError
from labelattack.measures._d_score.ablation import (
    PatchFeatures,
    PatchReadout,
    mutants,
    regions_alone,
    without_patches,
)
from labelattack.measures._d_score.distributions import (
    AblationLogits,
    Reals,
    attention_nonuniformity,
    bootstrap_interval,
    box_density,
    distribution,
    evidence_in,
    fitness,
    resample_counts,
    upsample,
)
from labelattack.measures._d_score.stage import stage_shape
from labelattack.models.base import Network
from labelattack.mutations import registry as mutations
from labelattack.mutations.base import Stage
from labelattack.registry.spec import Spec
from labelattack.seeding import generator
from labelattack.training.compute import Compute
from labelattack.training.feature_cache import features
from labelattack.training.inputs import Inputs, split_batches

if TYPE_CHECKING:
    from labelattack.measures.d_score import Diagnosis, DScoreSettings

_BATCH = 50


def diagnose(
    looks: AblationLogits, split: Split, stage: Stage, settings: DScoreSettings
) -> Diagnosis:
    """D-Score of the logits of a network.

    Args:
        looks: Logits with patches deleted and regions alone, of the images of ``split``.
        split: The images used, with clean labels.
        stage: Map and grid.
        settings: How it was measured.

    Returns:
        Distributions, scores, and intervals.

    Raises:
        DatasetError: If boxes are asked for and the dataset has none.
        ParameterError: If shifting is asked for and no region was shown.
    """
    images = len(split.labels)
    counts = resample_counts(
        images, settings.resamples, generator(settings.seed, "diagnosis-bootstrap")
    )
    weights = np.concatenate([np.ones((1, images)), counts])
    attention, features = _distributions(looks, split, stage, settings, weights)
    robust = attention_nonuniformity(attention, settings.distance)
    fit = fitness(attention, features, settings.distance)
    return cast("type[Diagnosis]", settings.outcome)(
        settings=settings,
        operator_version=mutations.version(settings.operator),
        rows=stage.rows,
        columns=stage.columns,
        images=images,
        attention=_defined_list(attention[0]),
        features=_defined_list(features[0]),
        robustness=_defined(robust[0]),
        fitness=_defined(fit[0]),
        robustness_interval=bootstrap_interval(robust[0], robust[1:]),
        fitness_interval=bootstrap_interval(fit[0], fit[1:]),
        d_score_interval=bootstrap_interval((fit - robust)[0], (fit - robust)[1:]),
    )


def _distributions(
    looks: AblationLogits, split: Split, stage: Stage, settings: DScoreSettings, weights: Reals
) -> tuple[Reals, Reals]:
    """Attention and features of each weighting of the images, ``[weightings, patches]``."""
    evidence = partial(
        evidence_in,
        labels=split.labels,
        evidence=settings.evidence,
        scored=split.counted,
        weights=weights,
    )
    attention = distribution(evidence(looks.whole[None]) - evidence(looks.deleted))
    if settings.features == "boxes":
        boxes = box_densities(split, stage.rows, stage.columns)
        return attention, distribution(weights @ boxes)
    if looks.shifted is None:
        raise ParameterError("feature distribution needs shifted images, got none")
    rows, columns = (-(-n // settings.step) for n in (stage.rows, stage.columns))
    grid = stage.rows, stage.columns
    shown = upsample(evidence(looks.shifted), (rows, columns), grid, settings.step)
    return attention, distribution(shown)


def box_densities(split: Split, rows: int, columns: int) -> Reals:
    """Ground-truth box density of each image, ``[images, rows * columns]``.

    Raises:
        DatasetError: If the dataset has no boxes.
    """
    if split.boxes is None:
        raise DatasetError("features=boxes needs a dataset with boxes, got one without")
    found = [box_density(split.boxes[row], rows, columns) for row in range(len(split.labels))]
    return np.stack(found)


def ablation_logits_of_network(
    network: nn.Module,
    stage_name: str,
    inputs: Inputs,
    settings: DScoreSettings,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[AblationLogits, Stage]:
    """Runs a network on images with parts deleted and regions shifted.

    Args:
        network: Maps a batch of images to logits; left in evaluation mode.
        stage_name: Name of the module whose output is the last spatial stage. Everything after it
            must depend on that output alone.
        inputs: The images.
        settings: What to measure.
        advance: Told how many of how many steps are done.

    Returns:
        Logits, and the stage they refer to.

    Raises:
        UnknownNameError: If the network has no such stage.
        ModelError: If it has no spatial extent.
        ParameterError: If the grid is finer than its map.
    """
    network.eval()
    batches = split_batches(np.arange(len(inputs)), _BATCH)
    (example,) = inputs.stream([np.arange(1)])
    stage = stage_shape(network, stage_name, example, grid=settings.grid)
    deleted = mutants(stage, settings)
    head = network.head if isinstance(network, Network) and stage_name == "backbone" else None
    steps = len(batches) * (2 if settings.features == "shifting" else 1)
    wholes, withouts = [], []
    for done, batch in enumerate(inputs.stream(batches)):
        whole, without = without_patches(network, stage_name, batch, stage, deleted, head)
        wholes.append(whole)
        withouts.append(without)
        advance(done + 1, steps)
    whole, without = torch.cat(wholes), torch.cat(withouts, 1)
    shown = None
    if settings.features == "shifting":
        alone: list[Tensor] = []
        for done, batch in enumerate(inputs.stream(batches)):
            alone.append(regions_alone(network, stage_name, batch, stage, settings))
            advance(len(batches) + done + 1, steps)
        shown = torch.cat(alone, 1).float().cpu().numpy()
    return AblationLogits(whole.float().cpu().numpy(), without.float().cpu().numpy(), shown), stage


def patch_features(
    split: Split,
    model: Spec,
    stage: Stage,
    settings: DScoreSettings,
    compute: Compute,
) -> PatchFeatures:
    """Contributions of patches to the pooled features of a frozen backbone, from the cache.

    Args:
        split: The images.
        model: Resolved spec of the model.
        stage: Map and grid.
        settings: What to measure.
        compute: Where to compute.
    """
    found = features(split, model, readout=PatchReadout(stage, settings), compute=compute)
    return PatchFeatures(found["placed"], found.get("shown"))


def ablation_logits_of_head(head: nn.Linear, parts: PatchFeatures) -> AblationLogits:
    """The same for a linear head on the pooled features of a frozen backbone, by algebra."""
    weight = head.weight.detach().cpu().numpy()
    bias = head.bias.detach().cpu().numpy()
    placed = np.moveaxis(parts.placed @ weight.T, 1, 0)
    whole = placed.sum(axis=0) + bias
    shown = None if parts.shown is None else np.moveaxis(parts.shown @ weight.T, 1, 0) + bias
    return AblationLogits(whole, whole - placed, shown)


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _defined_list(values: Sequence[float] | Reals) -> list[float] | None:
    return [float(v) for v in values] if np.all(np.isfinite(values)) else None
