"""Large losses of hidden labels as a sign that they are positive."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss, Step, Task, chosen_settings, negative_term

PRESETS = {
    "voc": {"reject": 0.002, "correct": 0.002, "correct-permanently": 0.001},
    "coco": {"reject": 0.004, "correct": 0.002, "correct-permanently": 0.002},
    "nus-wide": {"reject": 0.004, "correct": 0.002, "correct-permanently": 0.002},
    "cub": {"reject": 0.004, "correct": 0.004, "correct-permanently": 0.002},
    "boostlu": {"reject": 0.005, "correct": 0.002, "correct-permanently": 0.001},
}


@register("large-loss")
class LargeLoss(PartialLabelLoss):
    """Assume negative, except for the hidden labels of largest loss.

    P: -log p. N and U: -log(1 - p); but from epoch t = 2, the k largest losses of U in the batch
    are 0 (``reject``, LL-R) or become -log p (``correct``, LL-Ct; ``correct-permanently``, LL-Cp).
    With B L entries in the batch, k = ceil(B L (t - 1) delta) for the first two and ceil(B L delta)
    for the last. The k-th largest loss is a threshold: all that are equal to it go too. Mean over
    batch and labels.

    ``correct-permanently``: an entry whose loss is above the threshold, not at it, counts as P in
    all later steps and is no candidate any more. That is the LL authors' code, so that without ties
    k entries are corrected in a step and k - 1 of them for good; where k is 1 none is. BoostLU's
    code corrects all k for good, and so does the preset ``boostlu``.

    Where k exceeds the number of candidates, all of them go and no other entry; the released code
    then treats observed entries as large losses too, which is corrected here. State: one byte per
    image and label in ``correct-permanently``, else none.

    Args:
        mode: What becomes of large losses.
        preset: Setting of delta by data set, as the authors gave it in answer to a question, or
            BoostLU's. VOC, COCO, NUS-WIDE, CUB, BoostLU: reject .002, .004, .004, .004, .005;
            correct .002, .002, .002, .004, .002; correct-permanently .001, .002, .002, .002, .001.
        delta: Share of the batch's entries by which k grows each epoch, a fraction, 0.002 being
            0.2 %; none means the preset's. The authors' own option is in per cent.
        ties: Whether entries at the threshold are corrected for good as well; none means the
            preset's: only ``boostlu``'s are.
    """

    source: ClassVar[str] = "Kim et al. 2022 (Large Loss Matters); Kim et al. 2023 (BoostLU)"
    references: ClassVar[str] = "kim2022 kim2023"
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = True
    corrected: Tensor

    def __init__(
        self,
        *,
        mode: Literal["reject", "correct", "correct-permanently"] = "reject",
        preset: Literal["voc", "coco", "nus-wide", "cub", "boostlu"] = "voc",
        delta: Annotated[float, Field(ge=0, le=1)] | None = None,
        ties: bool | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.permanent = mode == "correct-permanently"
        self.delta = chosen_settings(PRESETS, preset, **{mode: delta})[mode]
        self.ties = preset == "boostlu" if ties is None else ties

    def bind(self, task: Task) -> None:
        """Allocates the marks of corrected entries; without columns where none is kept."""
        images, labels = task.labels.shape
        marks = torch.zeros(images, labels if self.permanent else 0, dtype=torch.bool)
        self.register_buffer("corrected", marks)

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Loss of each entry."""
        positives = step.positives
        if self.permanent:
            positives = positives | self.corrected[step.index]
        negative = negative_term(logits)
        count = self.count(logits.numel(), step.epoch)
        if count == 0:
            return negative - positives * logits
        candidates = ~(positives | step.negatives)
        losses = torch.where(candidates, negative.detach(), -torch.inf)
        threshold = kth_largest(losses, count)
        large = candidates & (losses >= threshold)
        if self.mode == "reject":
            return ~large * (negative - positives * logits)
        if self.permanent:
            for_good = large if self.ties else candidates & (losses > threshold)
            self.corrected[step.index] = (positives & ~step.positives) | for_good
        return negative - (positives | large) * logits

    def count(self, entries: int, epoch: int) -> int:
        """k, of a batch with this many entries."""
        if epoch == 1:
            return 0
        share = self.delta if self.permanent else self.delta * (epoch - 1)
        # Rounded first: 1000 * (0.003 * 3) is a little more than 9 and must not become 10.
        return math.ceil(round(entries * share, 6))


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest value, a scalar; the smallest where there are fewer."""
    return values.flatten().topk(min(k, values.numel())).values[-1]
