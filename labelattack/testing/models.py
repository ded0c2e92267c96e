"""Contract of models; the checks build them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from labelattack import models
from labelattack.models.base import Model, Preprocessing
from labelattack.testing.check import Kind, require
from labelattack.testing.simulated_device import same_device_required, simulated_device

_ANY_SIZE = 32
_LABELS = 5


def _images(model: Model, count: int) -> Tensor:
    side = model.preprocessing.size or _ANY_SIZE
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def declares_its_preprocessing(spec: str) -> None:
    """Size is a side in pixels, and statistics are of pixels in [0, 1]."""
    found: Any = models.create(spec).preprocessing
    require(
        isinstance(found, Preprocessing),
        f"preprocessing must be a Preprocessing, got a {type(found).__name__}",
    )
    require(
        found.size is None or (isinstance(found.size, int) and found.size > 0),
        f"size of preprocessing must be a side in pixels or None, got {found.size!r}",
    )
    require(
        _in_unit(found.mean, least=0) and _in_unit(found.std, least=1e-6),
        "mean and std of preprocessing must be three numbers each, of pixels in [0, 1], got "
        f"{found.mean!r} and {found.std!r}",
    )


def _in_unit(values: Any, *, least: float) -> bool:
    numbers = isinstance(values, Sequence) and all(isinstance(v, Real) for v in values)
    return numbers and len(values) == 3 and all(least <= v <= 1 for v in values)


def maps_images_to_logits(spec: str) -> None:
    """Backbone and head have the promised shapes, at the model's own size."""
    model = models.create(spec)
    network = model.build(_LABELS, seed=0).eval()
    images = _images(model, 2)
    with torch.inference_mode():
        found: Any = network.backbone(images)
        shape = tuple(getattr(found, "shape", ()))
        require(
            len(shape) == 4 and shape[:2] == (2, model.channels),
            f"backbone must give a map [batch, {model.channels}, h, w], as channels says, got "
            f"{type(found).__name__} {shape}",
        )
        require(min(shape[2:]) > 1, f"map of the backbone must be larger than 1 x 1, got {shape}")
        logits = tuple(network(images).shape)
    require(logits == (2, _LABELS), f"must give logits {(2, _LABELS)}, got {logits}")


def sees_images_alone(spec: str) -> None:
    """In evaluation, the others of a batch do not change the map of an image."""
    model = models.create(spec)
    backbone, images = model.build(_LABELS, seed=0).eval().backbone, _images(model, 3)
    with torch.inference_mode():
        together, alone = backbone(images)[:1], backbone(images[:1])
    scale = float(alone.abs().max())
    same = torch.allclose(together, alone, rtol=1e-3, atol=1e-3 * scale)
    require(same, "map of an image must not depend on the other images of a batch")


def can_be_trained(spec: str) -> None:
    """Gradients reach the backbone and are finite."""
    model = models.create(spec)
    network = model.build(_LABELS, seed=0).train()
    network(_images(model, 2)).square().sum().backward()
    slopes = [p.grad for p in network.backbone.parameters() if p.grad is not None]
    require(bool(slopes), "a gradient must reach the backbone, got none")
    require(all(bool(s.isfinite().all()) for s in slopes), "gradients must be finite")


def computes_on_the_device_of_its_inputs(spec: str) -> None:
    """On a GPU no tensor is made on the CPU."""
    device, model, found = simulated_device(), models.create(spec), []
    if device is None:  # no release of torch that can have one
        return
    with same_device_required():
        for place in (torch.device("cpu"), device):
            network = model.build(_LABELS, seed=0).eval().to(place)
            logits = network(_images(model, 2).to(place))
            logits.sum().backward()
            slopes = [p.grad for p in network.parameters() if p.grad is not None]
            found.append([tensor.detach().cpu() for tensor in (logits, *slopes)])
    # Attention has a kernel of its own on the CPU, which rounds otherwise.
    close = all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(*found, strict=True)
    )
    require(close, "must compute the same on another device as on the CPU")


def is_seeded(spec: str) -> None:
    """The seed is the only source of randomness."""
    first, second = (models.create(spec).build(_LABELS, seed=1).state_dict() for _ in range(2))
    same = first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
    require(same, "must build the same network from the same seed")


KIND = Kind(
    models.registry,
    (
        declares_its_preprocessing,
        maps_images_to_logits,
        sees_images_alone,
        can_be_trained,
        computes_on_the_device_of_its_inputs,
        is_seeded,
    ),
)
model_checks = KIND.checks
