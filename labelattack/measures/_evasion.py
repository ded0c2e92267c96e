"""mAP under evasion attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from labelattack.datasets.base import Split
from labelattack.metrics.average_precision import chance_map, mean_average_precision
from labelattack.models.base import Preprocessing
from labelattack.training.inputs import ImageInputs, split_batches
from labelattack.training.loop import Scores

if TYPE_CHECKING:
    from labelattack.measures.evasion import Evaded, EvasionSettings

_BATCH = 50


def evaded(
    network: nn.Module, test: Split, preprocessing: Preprocessing, settings: EvasionSettings
) -> Evaded:
    """Attacks test images, each to raise the objectives on it, and scores the results.

    Args:
        network: Maps normalised images to logits ``[batch, labels]``; on the device to use.
        test: The images; all are used.
        preprocessing: Of the network's model.
        settings: How to attack.

    Returns:
        The outcome.

    Raises:
        LabelAttackError: If ART is not installed.
    """
    from labelattack.interop.art.evasion import ART_VERSION

    scores = _logits(network, test, preprocessing, settings)
    maps = {
        name: mean_average_precision(np.concatenate(found), test.labels, scored=test.counted)
        for name, found in scores.items()
    }
    clean = maps.pop("clean")
    return cast("type[Evaded]", settings.outcome)(
        settings=settings,
        images=len(test.labels),
        clean=clean,
        map=min(maps.values()),
        by_objective=maps,
        chance=chance_map(test.labels, scored=test.counted),
        art=ART_VERSION,
    )


def _logits(
    network: nn.Module, test: Split, preprocessing: Preprocessing, settings: EvasionSettings
) -> dict[str, list[Scores]]:
    """Logits of the images as they are and under each objective, batch by batch."""
    # ART takes seconds to import, and only this needs it.
    from labelattack.interop.art.evasion import estimator_of, projected_gradient_descent

    pixels = preprocessing._replace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    inputs = ImageInputs(test.images, pixels, torch.device("cpu"))
    batches = split_batches(np.arange(len(test.labels)), _BATCH)
    scores: dict[str, list[Scores]] = {name: [] for name in ("clean", *settings.objectives)}
    for rows, batch in zip(batches, inputs.stream(batches), strict=True):
        images, labels = batch.numpy(), test.labels[rows]
        height, width = images.shape[2:]
        estimator = estimator_of(network, preprocessing, (height, width), labels.shape[1])
        scores["clean"].append(estimator.predict(images))
        for objective in settings.objectives:
            estimator.set_params(objective=objective)
            moved = projected_gradient_descent(
                estimator,
                images,
                labels,
                norm=settings.norm,
                eps=settings.eps,
                step_size=settings.step_size,
                steps=settings.steps,
            )
            scores[objective].append(estimator.predict(moved))
    return scores
