"""The control: no label is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack
from labelattack.labels import BoolArray, PartialLabels


@register("none")
@dataclass(frozen=True, kw_only=True)
class NoAttack(LabelAttack):
    """Leaves every label as known as it is."""

    source: ClassVar[str] = "control"

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps all labels."""
        del rng
        return np.ones_like(labels.known_values)
