"""Large losses of hidden labels, on logits whose positive class activations are multiplied."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from labelattack.defenses import register
from labelattack.defenses.large_loss import LargeLoss


@register("boostlu")
class BoostLU(LargeLoss):
    """Large loss on logits with positive class activations multiplied.

    z = mean over locations of f(a), f(a) = scale a where a > 0, else a; a is the head w x + b at
    one location x of the backbone's last map. So in training and in evaluation, as in the authors'
    code. The loss of these logits is ``large-loss``. Its delta is by default .005 (``reject``),
    .002 (``correct``) or .001 (``correct-permanently``), the authors' one setting for all data
    sets, which is its preset ``boostlu``.

    The authors train the head with 10 times the learning rate of the backbone. That is not part of
    it here: the recipe's learning rate is that of every defense. State: as ``large-loss``.

    Args:
        scale: Factor of positive class activations, the authors' alpha; 1 leaves the network as it
            is.
        mode: As of ``large-loss``.
        preset: As of ``large-loss``.
        delta: As of ``large-loss``.
        ties: As of ``large-loss``.
    """

    source: ClassVar[str] = "Kim et al. 2023 (BoostLU)"
    references: ClassVar[str] = "kim2023"

    def __init__(
        self,
        *,
        scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0,
        mode: Literal["reject", "correct", "correct-permanently"] = "reject",
        preset: Literal["voc", "coco", "nus-wide", "cub", "boostlu"] = "boostlu",
        delta: Annotated[float, Field(ge=0, le=1)] | None = None,
        ties: bool | None = None,
    ) -> None:
        super().__init__(mode=mode, preset=preset, delta=delta, ties=ties)
        self.activation_scale = scale
