"""Single positives that depend on the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.attacks import register
from labelattack.attacks.base import RateOf
from labelattack.attacks.informed import InformedAttack
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.attacks.removal import first_within, without_positives
from labelattack.files.storage import TablePath
from labelattack.labels import BoolArray, PartialLabels


@register("instance-dependent")
@dataclass(frozen=True, kw_only=True)
class InstanceDependentAttack(InformedAttack):
    """Keeps of each image the one positive with the highest score.

    All else is hidden: the single-positive attack in which an annotator names what is most obvious.
    It knows the scores of a model that was trained on clean labels, and has no rate. Equal scores
    are told apart at random (our definition).

    Args:
        scores: File of scores; by default they are those of a model trained on clean labels.
    """

    source: ClassVar[str] = "Xu et al., One Positive Label is Sufficient, NeurIPS 2022 (SMILE)"
    references: ClassVar[str] = "xu2022"
    rate_of: ClassVar[RateOf] = "positives"
    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    scores: TablePath | None = None

    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Keeps one positive of each image that has one."""
        scores = knowledge.scores[labels.positive_entries()]
        one = np.ones(len(labels), dtype=np.int64)
        kept = first_within(scores, labels.per_image("positives"), one, rng)
        return without_positives(labels, ~kept, keep_negatives=False)
