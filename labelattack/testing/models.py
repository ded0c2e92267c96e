"""Contract of models; the checks build them."""

from __future__ import annotations

import torch

from labelattack import models
from labelattack.testing.check import Kind, require


def maps_images_to_logits(spec: str) -> None:
    """Backbone and head have the promised shapes."""
    model = models.create(spec)
    network = model.build(5, seed=0).eval()
    side = model.preprocessing.size or 32
    with torch.inference_mode():
        features = network.backbone(torch.zeros(1, 3, side, side))
        shape = network(torch.zeros(2, 3, side, side)).shape
    spatial = features.ndim == 4 and features.shape[1] == model.channels
    require(
        spatial,
        f"backbone must give [batch, {model.channels}, h, w], got {tuple(features.shape)}",
    )
    require(shape == (2, 5), f"must give logits [2, 5], got {tuple(shape)}")


def is_seeded(spec: str) -> None:
    """The seed is the only source of randomness."""
    first, second = (models.create(spec).build(5, seed=1).state_dict() for _ in range(2))
    same = all(torch.equal(first[name], second[name]) for name in first)
    require(same, "must build the same network from the same seed")


KIND = Kind(
    models.registry,
    (
        maps_images_to_logits,
        is_seeded,
    ),
)
model_checks = KIND.checks
