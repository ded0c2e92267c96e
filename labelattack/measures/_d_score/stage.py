"""Looking into a network at its last spatial stage, and deleting parts of what passes there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from labelattack.errors import ModelError, ParameterError, unknown
from labelattack.measures._d_score.choices import MAX_GRID
from labelattack.mutations.base import Stage


def find_stage(network: nn.Module, name: str) -> nn.Module:
    """The module of a network that is called ``name``.

    Raises:
        UnknownNameError: If there is none.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if name not in modules:
        raise unknown(f"stage of {type(network).__name__}:", name, [n for n in modules if n])
    return modules[name]


def stage_shape(
    network: nn.Module, name: str, example: Tensor, *, grid: int | None = None
) -> Stage:
    """The shape of a stage's map, with a grid over it.

    Args:
        network: In evaluation mode.
        name: Name of the module whose output is the last spatial stage.
        example: Input of one image, ``[1, channels, height, width]``.
        grid: Cells along each side; None for the map's own, at most 7.

    Raises:
        UnknownNameError: If the network has no such module.
        ModelError: If its output has no spatial extent; a stage that has is named.
        ParameterError: If the grid has fewer than 2 cells a side, or is finer than the map.
    """
    find_stage(network, name)
    shapes = output_shapes(network, example)
    shape = shapes.get(name)
    if shape is None or not _is_map(shape):
        last = last_map(shapes)
        hint = f"; the last one that has is '{last}'" if last else "; it has none"
        raise ModelError(
            f"stage '{name}' of {type(network).__name__} must give a map [batch, channels, "
            f"height, width] larger than 1 x 1, got {list(shape or ())}{hint}"
        )
    height, width = shape[2:]
    if grid is not None and not 2 <= grid <= min(height, width):
        raise ParameterError(
            f"grid must be 2 to {min(height, width)}, the side of the last stage's map, got {grid}"
        )
    rows, columns = grid or min(height, MAX_GRID), grid or min(width, MAX_GRID)
    return Stage(shape[1], height, width, rows, columns)


def output_shapes(network: nn.Module, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of the output of each module, in the order in which they end; () if it is no tensor.

    Args:
        network: In evaluation mode.
        example: Input of one image, ``[1, channels, height, width]``.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(module_name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            shapes[module_name] = tuple(output.shape) if isinstance(output, Tensor) else ()

        return hook

    hooks = [m.register_forward_hook(note(n)) for n, m in network.named_modules()]
    try:
        with torch.inference_mode():
            network(example)
    finally:
        for handle in hooks:
            handle.remove()
    return shapes


def last_map(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the module that is the last to give a map larger than 1 x 1; empty if none does.

    Args:
        shapes: Of the outputs of modules, in the order in which they end.
    """
    return next((n for n in reversed(list(shapes)) if n and _is_map(shapes[n])), "")


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and min(shape[2:]) > 1


@contextmanager
def mutated(network: nn.Module, name: str, keep: Tensor) -> Iterator[None]:
    """While open, a batch that enters the network leaves it once for each mutant.

    The stage's output is repeated and multiplied, so everything before the stage runs once and no
    weight is touched. Logits come out as ``[mutants * batch, labels]``, mutants outermost.

    Args:
        network: The network.
        name: Name of the stage; everything after must depend on the stage alone.
        keep: Share of each unit that stays, ``[mutants, channels or 1, height or 1, width or 1]``.
    """

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return (output[None] * keep[:, None].to(output.dtype)).flatten(0, 1)

    handle = find_stage(network, name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def watched(network: nn.Module, name: str, seen: list[Tensor]) -> Iterator[None]:
    """While open, the stage's output is appended to ``seen``."""
    handle = find_stage(network, name).register_forward_hook(lambda m, i, o: seen.append(o))
    try:
        yield
    finally:
        handle.remove()
