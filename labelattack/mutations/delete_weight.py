"""Deletion of random channels within a patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.mutations import register
from labelattack.mutations.base import Mask, MutationOperator, Stage, cell_masks
from labelattack.seeding import random_keys


@register("delete-weight")
@dataclass(frozen=True, kw_only=True)
class DeleteWeight(MutationOperator):
    """Deletes a random share of the channels within one cell, for each cell in turn.

    Args:
        share: Share of the channels that each mutant lacks.
        repeats: Mutants of each cell, with other channels deleted.
    """

    source: ClassVar[str] = "neuron effect blocking, DeepMutation (Ma et al. 2018)"
    references: ClassVar[str] = "ma2018"

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    repeats: Annotated[int, Field(ge=1)] = 2

    def deleted(self, stage: Stage, rng: np.random.Generator) -> Mask:
        """Masks of the patches times random channels, ``[mutants, channels, height, width]``."""
        count = max(1, round(self.share * stage.channels))
        mutants = self.repeats * stage.cells
        keys = random_keys(rng, mutants * stage.channels).reshape(mutants, stage.channels)
        chosen = keys <= np.partition(keys, count - 1, axis=1)[:, count - 1 : count]
        patches = np.tile(cell_masks(stage), (self.repeats, 1, 1))
        return chosen[:, :, None, None].astype(np.float32) * patches[:, None]
