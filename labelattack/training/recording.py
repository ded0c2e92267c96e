"""Functions of tensors, recorded as a list of operations and played again without their Python."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

Tensors = Sequence[Tensor]
Function = Callable[..., list[Tensor]]


def recorded(function: Function, inputs: Tensors, module: nn.Module) -> Function | None:
    """Records what a function does to tensors of these shapes.

    Args:
        function: Takes tensors, some of which it may change in place, and gives tensors.
        inputs: What to call it with; they stay as they are.
        module: What of Python the function reads; if a call changes it, recording would freeze it.

    Returns:
        What makes the same of such tensors, to the last bit; None if that could not be had.
    """
    # Imported late: it takes a second, and most runs are too short to be recorded.
    from torch.fx.experimental.proxy_tensor import make_fx

    # Whatever tracing makes of a stranger's code: it can still be called.
    with suppress(Exception):
        before, plain = _python_state(module), _copied(inputs)
        wanted = function(*plain)
        if _python_state(module) != before:
            return None
        play: Function = torch.no_grad()(make_fx(function)(*_copied(inputs)).forward)
        played = _copied(inputs)
        found = play(*played)
        if all(map(torch.equal, (*found, *played), (*wanted, *plain))):
            return play
    return None


def _copied(tensors: Tensors) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _python_state(module: nn.Module) -> bytes:
    """What the modules hold beside parameters, buffers and each other."""
    known = "_parameters", "_buffers", "_modules"
    return pickle.dumps(
        [
            {name: value for name, value in vars(part).items() if name not in known}
            for part in module.modules()
        ]
    )
