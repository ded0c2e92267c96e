"""Deletion by patch of the grid: the default operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.mutations import register
from labelattack.mutations.base import Mask, MutationOperator, Stage, cell_masks


@register("delete-cell")
@dataclass(frozen=True, kw_only=True)
class DeleteCell(MutationOperator):
    """Deletes one cell of the grid over all channels; one mutant a cell."""

    source: ClassVar[str] = "occlusion (Zeiler and Fergus 2014), on the last stage"
    references: ClassVar[str] = "zeiler2014"

    def deleted(self, stage: Stage, rng: np.random.Generator) -> Mask:
        """Masks of the patches, ``[patches, 1, height, width]``."""
        return cell_masks(stage)[:, None]
