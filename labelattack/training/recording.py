"""Functions of tensors, recorded as a list of operations and played again without their Python."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

Tensors = Sequence[Tensor]
Function = Callable[..., list[Tensor]]


def recorded(function: Function, inputs: Tensors, module: nn.Module) -> Function | None:
    """Records what a function does to tensors of these shapes.

    Args:
        function: Takes tensors, some of which it may change in place, and gives tensors.
        inputs: What to call it with; they stay as they are.
        module: What of Python the function reads; it stays as it is, too. If a call changes it,
            nothing is recorded, which would freeze it.

    Returns:
        What makes the same of such tensors, to the last bit; None if that could not be had.
    """
    # Imported late: it takes a second, and most runs are too short to be recorded.
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        before = copy.deepcopy(_python_state(module))
        told = pickle.dumps(_python_state(module))
    except Exception:  # what cannot be told apart cannot be trusted to stay as it is
        return None
    play: Function | None = None
    # Whatever tracing makes of a stranger's code: it can still be called.
    with suppress(Exception):
        plain = _copied(inputs)
        wanted = function(*plain)
        played = _copied(inputs)
        play = torch.no_grad()(make_fx(function)(*_copied(inputs)).forward)
        if not all(map(torch.equal, (*play(*played), *played), (*wanted, *plain))):
            play = None
    if pickle.dumps(_python_state(module)) == told:
        return play
    for part, held in zip(module.modules(), before, strict=True):
        vars(part).update(held)
    return None


def _copied(tensors: Tensors) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _python_state(module: nn.Module) -> list[dict[str, Any]]:
    """What the modules hold beside parameters, buffers and each other."""
    known = "_parameters", "_buffers", "_modules"
    return [
        {name: value for name, value in vars(part).items() if name not in known}
        for part in module.modules()
    ]
