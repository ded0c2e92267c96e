"""An attack with knowledge: it hides what a surrogate is least sure about."""

from dataclasses import dataclass

from labelattack import attacks
from labelattack.attacks.removal import InformedRemoval
from labelattack.files.storage import TablePath


@attacks.register("ambiguous-first")
@dataclass(frozen=True, kw_only=True)
class AmbiguousFirst(InformedRemoval):
    """Removes the positives whose score is nearest to one half."""

    needs = ("scores",)
    scores: TablePath | None = None  # a file; by default a surrogate's

    def priority(self, labels, knowledge, rng):
        return -abs(knowledge.scores[labels.positive_entries()] - 0.5)
