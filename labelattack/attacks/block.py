"""Shards of the data without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf
from labelattack.attacks.groups import outside_drawn_groups
from labelattack.labels import BoolArray, PartialLabels


@register("block")
@dataclass(frozen=True, kw_only=True)
class Block(LabelAttack):
    """Removes all labels of whole shards of the data.

    Images in their order are cut into shards, as files, days or sites deliver them, and
    round(rate * shards) of them, drawn uniformly, lose all labels. Our definition, missing not at
    random where the order of images means something; there are no published settings.

    Args:
        rate: Share of the shards that loses its labels, in [0, 1].
        size: Images of a shard; the last one may have fewer.
    """

    source: ClassVar[str] = "our definition; missing not at random"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "groups"

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    size: Annotated[int, Field(ge=1, lt=2**63)] = 100

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps the labels of the shards that are not drawn."""
        shards = np.arange(len(labels)) // self.size
        return outside_drawn_groups(labels, shards, -(-len(labels) // self.size), self.rate, rng)
