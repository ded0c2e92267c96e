"""Mutation operators, and the grid of patches over the last spatial stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import PluginError
from labelattack.seeding import generator

Mask = NDArray[np.float32]


class Stage(NamedTuple):
    """The last spatial stage of a network: shape of its feature map, and the D-Score grid over it.

    Attributes:
        channels: Channels of the map.
        height: Rows of the map.
        width: Columns of the map.
        rows: Rows of the grid, at most ``height``.
        columns: Columns of the grid, at most ``width``.
    """

    channels: int
    height: int
    width: int
    rows: int
    columns: int

    @property
    def cells(self) -> int:
        """Number of patches of the grid, numbered row by row."""
        return self.rows * self.columns


def cell_masks(stage: Stage) -> Mask:
    """Masks of the patches: share of each position of the map that lies in each patch.

    A grid that does not divide the map cuts positions: a position cut in half has weight one half
    in both patches, so that all patches have the same area and together cover the map once.

    Args:
        stage: Map and grid.

    Returns:
        float32 ``[patches, height, width]`` in [0, 1]; sums to 1 over the patches.
    """
    rows, columns = _overlap(stage.height, stage.rows), _overlap(stage.width, stage.columns)
    masks = rows[:, None, :, None] * columns[None, :, None, :]
    patches: Mask = masks.reshape(stage.cells, stage.height, stage.width)
    return patches


def _overlap(size: int, parts: int) -> Mask:
    """Overlap of part i of [0, size] with unit j, float32 ``[parts, size]``."""
    edges = np.arange(parts + 1) * (size / parts)
    units = np.arange(size)
    upper = np.minimum(edges[1:, None], units[None] + 1)
    lower = np.maximum(edges[:-1, None], units[None])
    shared: Mask = np.maximum(upper - lower, 0).astype(np.float32)
    return shared


@dataclass(frozen=True, kw_only=True)
class MutationOperator(ABC):
    """A mutation operator: the units of the last spatial stage that each mutant lacks.

    A mutant is the same network with part of that stage's output set to zero in the forward pass;
    no weight is edited. Subclass as a keyword-only frozen dataclass whose fields are the
    operator's parameters, implement
    [deleted][labelattack.mutations.base.MutationOperator.deleted], and register it.

    Attributes:
        version: Raise it whenever the deleted units change.
        source: Publication of the operator.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""

    @abstractmethod
    def deleted(self, stage: Stage, rng: np.random.Generator) -> Mask:
        """Masks of the mutants: share of each unit that each mutant lacks.

        Args:
            stage: Map and grid.
            rng: The only permitted source of randomness.

        Returns:
            float32 in [0, 1], ``[mutants, channels, height, width]``; any of the last three may be
            1 and are broadcast.
        """

    @final
    def __call__(self, stage: Stage, *, seed: int = 0) -> Mask:
        """Computes and checks the masks of the mutants of a stage.

        Args:
            stage: Map and grid.
            seed: The same seed gives the same mutants.

        Returns:
            Masks as [deleted][labelattack.mutations.base.MutationOperator.deleted] returns them.

        Raises:
            PluginError: If the operator returns anything else.
        """
        masks = self.deleted(stage, generator(seed, "mutation"))
        name = type(self).__name__
        full = (stage.channels, stage.height, stage.width)
        fits = masks.ndim == 4 and all(
            size in (1, whole) for size, whole in zip(masks.shape[1:], full, strict=True)
        )
        if not fits or masks.dtype != np.float32 or not len(masks):
            raise PluginError(
                f"{name}.deleted must return float32 [mutants, {full[0]} or 1, {full[1]} or 1, "
                f"{full[2]} or 1], got {masks.dtype} {masks.shape}"
            )
        if masks.min() < 0 or masks.max() > 1 or not masks.any():
            raise PluginError(
                f"{name}.deleted must return shares in [0, 1], not all 0, got "
                f"[{masks.min()}, {masks.max()}]"
            )
        return masks
