"""Your first loss: assume negative, less where the model is unsure."""

from labelattack import PartialLabelLoss, defenses
from labelattack.defenses.base import negative_term, observed_term


@defenses.register("confident-negative")
class ConfidentNegative(PartialLabelLoss):
    """Weighs a hidden label by how sure the model is that it is absent."""

    def __init__(self, *, power: float = 1.0):
        super().__init__()
        self.power = power

    def loss(self, logits, step):
        sure = (1 - logits.sigmoid()).detach() ** self.power
        return (observed_term(logits, step) + step.hidden * sure * negative_term(logits)).mean()
