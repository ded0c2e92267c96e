"""Mean confidence of a model in the labels that it predicts."""

from typing import ClassVar

import numpy as np

from labelattack.measures import register
from labelattack.measures.base import Measure, Metric


@register("mean-confidence")
class Confidence(Measure):
    """Mean distance of predicted probabilities from one half."""

    metrics: ClassVar = (Metric("mean_confidence", "confidence"),)

    def measure(self, run):
        probabilities = 1 / (1 + np.exp(-run.scores))
        return self.values(len(run.scores), mean_confidence=np.abs(probabilities - 0.5).mean())
