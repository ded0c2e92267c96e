"""Groups of images without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import RateOf
from labelattack.attacks.groups import outside_drawn_groups
from labelattack.attacks.informed import InformedAttack
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.files.storage import TablePath
from labelattack.labels import BoolArray, PartialLabels


@register("group-block")
@dataclass(frozen=True, kw_only=True)
class GroupBlock(InformedAttack):
    """Removes all labels of whole groups: patients, recordings, sites.

    Of the groups that the images belong to, round(rate * groups), drawn uniformly, lose all labels.
    Our definition, after data whose labels are missing for whole recordings; there are no published
    settings.

    Args:
        rate: Share of the groups that loses its labels, in [0, 1].
        groups: A file ``id,group``; none means the groups of the dataset.
    """

    source: ClassVar[str] = "our definition; missing not at random"
    references: ClassVar[str] = "labelattack"
    rate_of: ClassVar[RateOf] = "groups"
    needs: ClassVar[tuple[Need, ...]] = ("groups",)

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    groups: TablePath | None = None

    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Keeps the labels of the groups that are not drawn."""
        numbers: dict[str, int] = {}
        found = [numbers.setdefault(group, len(numbers)) for group in knowledge.groups]
        groups = np.array(found, dtype=np.int64)
        return outside_drawn_groups(labels, groups, len(numbers), self.rate, rng)
