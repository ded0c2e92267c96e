"""Adam, as torch has it and for many tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Self

import torch
from torch import Tensor

from labelattack.training.fallbacks import told
from labelattack.training.recipe import Recipe

_FUSED = "cpu", "cuda"


@dataclass(frozen=True, order=True)
class AdamSettings:
    """Settings of Adam for some parameters, named as torch names them.

    Attributes:
        lr: Learning rate.
        weight_decay: Factor of the parameters that is added to their gradients.
    """

    lr: float
    weight_decay: float = 0.0

    @classmethod
    def of_network(cls, recipe: Recipe) -> Self:
        """Settings for the parameters of a network."""
        return cls(recipe.lr, recipe.weight_decay)

    @classmethod
    def of_loss(cls, recipe: Recipe, lr_scale: float) -> Self:
        """Settings for the parameters of a loss: a multiple of the learning rate, no decay."""
        return cls(recipe.lr * lr_scale)


def adam(
    parameters: Iterable[tuple[AdamSettings, Iterable[Tensor]]], device: torch.device
) -> torch.optim.Adam:
    """Adam, in one kernel where the device has one.

    Args:
        parameters: Settings, and the parameters that they are for.
        device: Where the parameters are.
    """
    groups = [{"params": list(of), **asdict(settings)} for settings, of in parameters]
    return torch.optim.Adam(groups, fused=device.type in _FUSED)


def adam_step(parameters: Mapping[AdamSettings, list[Tensor]]) -> Callable[[], object]:
    """Adam for many tensors that are all stepped at once.

    Args:
        parameters: Tensors of each setting, of one device, with gradients when it comes to a step.

    Returns:
        A function that makes a step: that of torch's Adam to the last bit, without the bookkeeping
        for each tensor, which for small ones takes a third of the time.
    """
    device = next(tensor.device for tensors in parameters.values() for tensor in tensors)
    if device.type not in _FUSED or kernel_fault(device) is not None:
        return partial(adam(parameters.items(), device).step, None)
    count = torch.zeros((), device=device)
    parts = [
        (of, [torch.zeros_like(t) for t in of], [torch.zeros_like(t) for t in of], settings)
        for settings, of in parameters.items()
    ]

    @torch.no_grad()
    def step() -> None:
        count.add_(1)
        for tensors, means, squares, settings in parts:
            slopes = [tensor.grad for tensor in tensors if tensor.grad is not None]
            _fused(tensors, slopes, means, squares, count, settings)

    return step


def _fused(
    tensors: list[Tensor],
    slopes: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    count: Tensor,
    settings: AdamSettings,
) -> None:
    """The kernel that torch.optim.Adam comes down to, which is no public name of torch."""
    torch._fused_adam_(
        tensors, slopes, means, squares, [], [count] * len(tensors),
        lr=settings.lr, weight_decay=settings.weight_decay, beta1=0.9, beta2=0.999, eps=1e-8,
        amsgrad=False, maximize=False,
    )  # fmt: skip


@cache
def kernel_fault(device: torch.device) -> str | None:
    """Reason why torch's fused kernel is not used for heads, logged once; None if it is.

    It must be there in this release of torch and make the step of torch.optim.Adam. On devices for
    which torch has no such kernel nothing is given up.
    """
    if device.type not in _FUSED:
        return None
    own, other = (torch.linspace(-1, 1, 7, device=device) for _ in range(2))
    slope = torch.linspace(3, -2, 7, device=device)
    mean, square = torch.zeros_like(own), torch.zeros_like(own)
    settings = AdamSettings(1e-3, 1e-2)
    try:
        _fused([own], [slope], [mean], [square], torch.ones((), device=device), settings)
        other.grad = slope.clone()
        adam([(settings, [other])], device).step()
        if torch.equal(own, other):
            return None
        error: Exception = ArithmeticError("it makes another step than torch.optim.Adam")
    except (AttributeError, TypeError, RuntimeError) as raised:
        error = raised
    return told("torch.optim.Adam used for heads", error)
