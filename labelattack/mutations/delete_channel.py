"""Deletion by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.mutations import register
from labelattack.mutations.base import Mask, MutationOperator, Stage


@register("delete-channel")
@dataclass(frozen=True, kw_only=True)
class DeleteChannel(MutationOperator):
    """Deletes one channel everywhere; one mutant a channel."""

    source: ClassVar[str] = "Ablation-CAM (Desai and Ramaswamy 2020)"
    references: ClassVar[str] = "desai2020"

    def deleted(self, stage: Stage, rng: np.random.Generator) -> Mask:
        """Masks of single channels, ``[channels, channels, 1, 1]``."""
        return np.eye(stage.channels, dtype=np.float32)[:, :, None, None]
