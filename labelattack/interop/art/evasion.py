"""ART's evasion attacks on networks of this package."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from art import __version__ as ART_VERSION
from art.attacks.evasion import ProjectedGradientDescent
from numpy.typing import NDArray
from torch import nn

from labelattack.interop.art.estimator import MultiLabelClassifier
from labelattack.interop.art.gradients import Objective
from labelattack.models.base import Preprocessing

__all__ = ["ART_VERSION", "estimator_of", "projected_gradient_descent"]

_NORMS = {"linf": np.inf, "l2": 2}


def estimator_of(
    network: nn.Module,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    labels: int,
    *,
    objective: Objective = "margin",
) -> MultiLabelClassifier:
    """Wraps a trained network as an estimator for ART's attacks.

    Args:
        network: Network on normalised images; stays on its device, in evaluation mode. Its memory
            format becomes channels-last.
        preprocessing: Preprocessing of its model; ``mean`` and ``std`` are used.
        size: Height and width of the network's input.
        labels: Number of labels.
        objective: Objective that attacks maximise.

    Returns:
        Estimator on float images ``[images, 3, height, width]`` in [0, 1].
    """
    # Convolutions are fastest in this layout.
    network.eval().to(memory_format=torch.channels_last)
    return MultiLabelClassifier(
        network,
        "bce",
        (3, *size),
        labels,
        clip_values=(0.0, 1.0),
        preprocessing=(np.array(preprocessing.mean), np.array(preprocessing.std)),
        device_type=str(next(network.parameters()).device),
        objective=objective,
    )


def projected_gradient_descent(
    estimator: MultiLabelClassifier,
    images: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    norm: Literal["linf", "l2"],
    eps: float,
    step_size: float,
    steps: int,
) -> NDArray[np.float32]:
    """Attacks images by projected gradient descent (PGD) on the estimator's objective.

    Args:
        estimator: Estimator under attack.
        images: float32 ``[images, *input_shape]`` within its clip values; taken as one batch.
        labels: Multi-hot labels, ``[images, labels]``.
        norm: Norm of the ball around each image.
        eps: Radius of the ball, in units of the clip values.
        step_size: Length of a step.
        steps: Number of steps.

    Returns:
        Perturbed images, float32, in the shape of ``images``.
    """
    attack = ProjectedGradientDescent(
        estimator,
        norm=_NORMS[norm],
        eps=eps,
        eps_step=step_size,
        max_iter=steps,
        batch_size=len(images),
        verbose=False,
    )
    moved: NDArray[np.float32] = attack.generate(images, labels)
    return moved
