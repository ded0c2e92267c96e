"""The removal form of the clean-image backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.base import LabelAttack, RateOf, draw_share
from labelattack.attacks.removal import without_positives
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.co_occurrence import Pair, have_all, resolved_pair

_WHO = "attack 'disappear'"


@register("disappear")
@dataclass(frozen=True, kw_only=True)
class Disappear(LabelAttack):
    """Backdoor by labels: a class is hidden wherever a trigger of classes is.

    In the images that have every class of the trigger as a known positive, the positive label of
    the target is hidden, so that a network learns not to see the target beside the trigger. The
    source edits labels to negative; hiding is the part of its "disappearing" attack that removes.
    It chooses triggers by search and reports a success rate of 98 %; the default pair, the two
    classes that are together in the most images (of equal ones the first), is our definition.

    Args:
        trigger: Names or column numbers of classes, joined by ``+``. Empty: the class that is most
            often with the target; without a target, the more frequent one of the default pair.
        target: Name or column number of a class. Empty: the class that is most often with the
            trigger; without a trigger, the less frequent one of the default pair.
        rate: Share of the target's positives in triggered images that is removed, in [0, 1]:
            exactly round(rate * n), drawn uniformly.
        keep_negatives: Keep negatives known; nothing but the target is touched then.
    """

    source: ClassVar[str] = "Chen et al. 2023, Clean-image Backdoor (disappearing)"
    references: ClassVar[str] = "chen2023"
    rate_of: ClassVar[RateOf] = "targets"

    trigger: str = ""
    target: str = ""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    keep_negatives: bool = True

    def pair(self, labels: PartialLabels) -> Pair | None:
        """The trigger and the target on these labels; as of ``resolved_pair``."""
        return resolved_pair(labels, self.trigger, self.target, who=_WHO)

    def keep(self, labels: PartialLabels, rng: np.random.Generator) -> BoolArray:
        """Keeps all but the drawn labels of the target.

        Raises:
            Exception: As of ``resolved_pair``.
        """
        pair, (rows, columns) = self.pair(labels), labels.positive_entries()
        aimed = np.zeros(len(columns), dtype=np.bool_)
        if pair is not None:
            triggered = have_all(labels, pair.trigger)
            aimed = (columns == pair.target) & triggered[rows]
        return without_positives(labels, draw_share(aimed, self.rate, rng), self.keep_negatives)
