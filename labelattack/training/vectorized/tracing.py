"""Functions of tensors, recorded as a list of operations and played again without their Python."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Tensors = Sequence[Tensor]
Function = Callable[..., list[Tensor]]


class NotRecordedError(Exception):
    """A function cannot be recorded; the message says why."""


def recorded(
    function: Function,
    inputs: Tensors,
    module: nn.Module,
    refused: Callable[[NotRecordedError], object],
) -> Function | None:
    """Records what a function does to tensors of these shapes.

    Args:
        function: Takes tensors, some of which it may change in place, and gives tensors.
        inputs: What to call it with; they stay as they are.
        module: Holder of the Python state that the function reads; it stays as it is, too. If a
            call changes that state nothing is recorded, as a recording would freeze it.
        refused: Called with the reason if there is no recording.

    Returns:
        A function that gives the same for such tensors, to the last bit; None if there is none.
    """
    try:
        return _recorded(function, inputs, module)
    except NotRecordedError as error:
        refused(error)
        return None


def _recorded(function: Function, inputs: Tensors, module: nn.Module) -> Function:
    try:
        before = copy.deepcopy(_python_state(module))
        told = attributes_told(module)
    except Exception as error:  # a state that cannot be compared might change unnoticed
        raise NotRecordedError(f"its attributes cannot be compared: {error}") from error
    try:
        # Imported late: it takes a second, and most runs are too short to be recorded.
        from torch.fx.experimental.proxy_tensor import make_fx

        plain = _copied(inputs)
        wanted = function(*plain)
        played = _copied(inputs)
        play: Function = torch.no_grad()(make_fx(function)(*_copied(inputs)).forward)
        same = all(map(torch.equal, (*play(*played), *played), (*wanted, *plain)))
    except Exception as error:  # tracing a stranger's code raises nearly anything
        _require_unchanged(module, told, before)
        raise NotRecordedError(f"{type(error).__name__}: {error}") from error
    _require_unchanged(module, told, before)
    if not same:
        raise NotRecordedError("played again it gives other values")
    return play


def _require_unchanged(module: nn.Module, told: bytes, before: list[dict[str, Any]]) -> None:
    if attributes_told(module) == told:
        return
    for part, held in zip(module.modules(), before, strict=True):
        vars(part).update(held)
    raise NotRecordedError("a call changes its attributes")


def _copied(tensors: Tensors) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def attributes_told(module: nn.Module) -> bytes:
    """Python attributes of a module, for comparison.

    Raises:
        Exception: If they cannot be compared.
    """
    return pickle.dumps(_python_state(module))


def _python_state(module: nn.Module) -> list[dict[str, Any]]:
    """Attributes of the modules beside parameters, buffers and submodules."""
    known = "_parameters", "_buffers", "_modules"
    return [
        {name: value for name, value in vars(part).items() if name not in known}
        for part in module.modules()
    ]
