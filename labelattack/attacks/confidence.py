"""Attack on the most, or the least, confident positives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks import register
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.attacks.removal import InformedRemoval
from labelattack.files.storage import TablePath
from labelattack.labels import PartialLabels


@register("confidence")
@dataclass(frozen=True, kw_only=True)
class ConfidenceAttack(InformedRemoval):
    """Removes the positives of which a model is most, or least, confident.

    Over the whole data set, positives are ordered by a score of a model that was trained on clean
    labels. Without the ``most`` confident ones, large losses are those of positives that a model
    does not learn anyway, against the premise of losses that take hidden entries of large loss for
    positives (Kim et al. 2022). The ``least`` confident ones are those that annotators overlook, as
    in IDMN, where the positives vanish whose scores are below a percentile of all positives' scores
    (10, 20, 30 and 40 are published). Our definition, with an exact number in place of a
    percentile. It knows the scores; the rate is a share of all known positives.

    Args:
        drop: Which positives are removed first: those of the ``most`` or the ``least`` confidence.
        rate: Share of the known positives that is removed, in [0, 1]: exactly
            round(rate * positives).
        keep_negatives: Keep negatives known.
        scores: File of scores; by default they are those of a model trained on clean labels.
    """

    source: ClassVar[str] = "our definition; the least confident after IDMN (youngwk/IDMN)"
    references: ClassVar[str] = "labelattack kim2024"
    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    drop: Literal["most", "least"] = "most"
    scores: TablePath | None = None

    def priority(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> NDArray[Any]:
        """The score, or its opposite."""
        del rng
        scores = knowledge.scores[labels.positive_entries()]
        return scores if self.drop == "most" else -scores
