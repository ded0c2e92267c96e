"""A loss with state and a side table: hidden labels that another model and this one believe in."""

import torch

from labelattack import PartialLabelLoss, defenses
from labelattack.defenses.base import cross_entropy
from labelattack.defenses.side import TablePath, scores_for


@defenses.register("believed")
class Believed(PartialLabelLoss):
    """Takes a hidden label for present once its score and the prediction are high.

    Args:
        scores: File with a score in [0, 1] for each image and label; by default the dataset's.
    """

    side_tables = ("scores",)
    per_image_state = True
    uses_epoch = False

    def __init__(self, *, scores: TablePath | None = None):
        super().__init__()
        self.scores = scores

    def bind(self, task):
        table = torch.from_numpy(scores_for("believed", self.scores, task) > 0.5)
        self.register_buffer("likely", table)
        self.register_buffer("present", torch.zeros_like(table))

    def terms(self, logits, step):
        return cross_entropy(logits, step.positives | self.present[step.index])

    def end_epoch(self, logits, step):
        self.present |= step.hidden & self.likely & (logits > 2)
