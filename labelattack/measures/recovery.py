"""Recovery: how well a trained model ranks the training labels that an attack removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelattack.labels import BoolArray, PartialLabels
from labelattack.measures import register
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MeasuredValues, Metric
from labelattack.metrics.average_precision import average_precision, defined_mean

if TYPE_CHECKING:
    from labelattack.measures.run import TrainedRun


@register("recovery")
class Recovery(Measure):
    """Rank of removed positives among the training labels that a loss was not told.

    Candidates are the entries that were known before the attack and are hidden after it; where an
    attack changes labels, also the entries that it left negative. Relevant are those that were
    positive before. Scores are those of the trained model on its own training images, so they show
    what training with the attacked labels made of them. The labels before the attack are used for
    measuring only and never reach a defense. Our definition, average precision and R-precision
    (Manning et al. 2008, section 8.4) of finding what was removed.

    ``recovery_ap`` is the mean over classes of the average precision of removed positives among the
    candidates of the class; classes without a removed positive or without another candidate are
    left out. ``recovery_recall`` is the share of removed positives among the candidates of all
    classes with the highest scores, as many as were removed. Both are undefined where nothing was
    removed, where nothing else is a candidate, and for a file of weights, of which no attack is
    known.
    """

    references: ClassVar[str] = "labelattack manning2008"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("recovery_ap", "recovery AP", unit="points"),
        Metric("recovery_recall", "recovery recall", unit="points"),
    )

    def measure(self, run: TrainedRun) -> MeasuredValues:
        """Ranks the training entries."""
        before = run.splits.train.partial
        if run.attacked is None:
            return self.values(len(before), recovery_ap=None, recovery_recall=None)
        attack, after = run.attacked()
        candidates, removed = removed_among(before, after, changes=attack.changes)
        if not removed.any():  # saves the scores
            return self.values(len(before), recovery_ap=None, recovery_recall=None)
        scores = run.training_scores
        by_class = average_precision(scores, removed, scored=candidates)
        return self.values(
            len(before),
            recovery_ap=defined_mean(by_class),
            recovery_recall=recall_at_removed(scores[candidates], removed[candidates]),
            details={
                "candidates": int(candidates.sum()),
                "removed": int(removed.sum()),
                "by_class": {
                    name: None if np.isnan(value) else float(value)
                    for name, value in zip(run.splits.classes, by_class, strict=True)
                },
            },
        )


def removed_among(
    before: PartialLabels, after: PartialLabels, *, changes: bool
) -> tuple[BoolArray, BoolArray]:
    """Candidates of an attack's removal, and the removed positives, bool ``[images, labels]`` each.

    Args:
        before: Labels before the attack.
        after: Labels after it.
        changes: Whether the attack may change labels, so that observed negatives are candidates.
    """
    candidates = before.observed & (~after.positives if changes else after.hidden)
    return candidates, candidates & before.positives


def recall_at_removed(scores: NDArray[np.floating[Any]], removed: BoolArray) -> float | None:
    """Recall of removed positives at as many entries as were removed, in [0, 1].

    Entries with equal scores at the limit count by the share of them that fits.

    Args:
        scores: Score of each candidate, float ``[entries]``.
        removed: Which are removed positives, bool ``[entries]``.

    Returns:
        None if there is no removed positive, or no other candidate.
    """
    count = int(removed.sum())
    if not 0 < count < len(removed):
        return None
    limit = np.partition(scores, -count)[-count]
    above, at = scores > limit, scores == limit
    fits = (count - int(above.sum())) / int(at.sum())
    return float(((removed & above).sum() + fits * (removed & at).sum()) / count)
