"""Labels that a machine suggests and people verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.informed import InformedAttack
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.attacks.removal import first_of, first_within
from labelattack.files.storage import TablePath
from labelattack.labels import BoolArray, PartialLabels


@register("machine-suggested")
@dataclass(frozen=True, kw_only=True)
class MachineSuggestedAttack(InformedAttack):
    """Leaves known what a model suggests: the entries of highest score.

    As Open Images was labelled: a classifier suggests labels of an image, people verify them, and
    of what was not suggested nothing is known. An entry that stays known is positive or negative,
    as it was. It knows scores of a model; the rate is a share of all known labels. With an exact
    rate in place of thresholds it is our definition. Equal scores are told apart at random.

    Args:
        rate: Share of the labels that is removed, in [0, 1].
        scope: ``dataset`` removes the round(rate * labels) entries of the lowest scores over the
            data set; ``image`` removes round(rate * n) of the n known entries of every image.
        scores: File of scores; by default they are those of a model trained on clean labels.
    """

    source: ClassVar[str] = "our definition, after Kuznetsova et al. 2020, Open Images V4"
    references: ClassVar[str] = "labelattack kuznetsova2020"
    needs: ClassVar[tuple[Need, ...]] = ("scores",)

    rate: Annotated[float, Field(ge=0, le=1)] = 0.4
    scope: Literal["dataset", "image"] = "dataset"
    scores: TablePath | None = None

    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Keeps the labels of the highest scores."""
        scores = labels.at_known(knowledge.scores)
        if self.scope == "dataset":
            return ~first_of(scores, self.rate, rng, smallest=True)
        known = labels.per_image()
        counts = np.rint(self.rate * known).astype(np.int64)
        return ~first_within(scores, known, counts, rng, smallest=True)
