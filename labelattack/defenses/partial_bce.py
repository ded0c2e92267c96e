"""Cross-entropy scaled by how much of an image is known."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, cross_entropy


@register("partial-bce")
class PartialBinaryCrossEntropy(PartialLabelLoss):
    """Binary cross-entropy on observed labels, more for images with few.

    Per image g(r) / L times the sum over P and N of the cross-entropy, with
    g(r) = alpha r^gamma + beta, r the share of the image's L labels that is observed; then the mean
    over the batch. U: 0. An image without observed labels adds 0. State: none.

    The authors released no code. The defaults give g(1) = 1 and g(0.1) = 5 and are those of others'
    implementations.

    Args:
        alpha: Slope of g.
        beta: Offset of g.
        gamma: Exponent of g.
    """

    source: ClassVar[str] = "Durand et al. 2019"
    references: ClassVar[str] = "durand2019"
    uses_epoch: ClassVar[bool | None] = False
    per_image_state: ClassVar[bool | None] = False

    def __init__(
        self,
        *,
        alpha: float = -4.45,
        beta: float = 5.45,
        gamma: Annotated[float, Field(ge=-8, le=8)] = 1.0,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        observed = step.positives | step.negatives
        share = observed.to(logits.dtype).mean(dim=1, keepdim=True)
        # Where nothing is observed there is no term to scale, but 0 may have no power.
        share = share.clamp_min(1 / logits.shape[1])
        scale = self.alpha * share**self.gamma + self.beta
        return scale * observed * cross_entropy(logits, step.positives)
