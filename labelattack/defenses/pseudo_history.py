"""The paper's loss: pseudo-labels from the predictions of past epochs."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from labelattack.defenses import register
from labelattack.defenses.base import (
    PartialLabelLoss,
    Step,
    Task,
    cross_entropy,
)
from labelattack.errors import ParameterError

Weight = Annotated[float, Field(ge=0, le=1)]


@register("pseudo-history")
class PseudoHistory(PartialLabelLoss):
    """Cross-entropy on observed labels and, increasingly, on pseudo-labels for the hidden ones.

    A hidden label's target is ``init`` until the image has been seen once, then the weighted mean
    of the model's predictions in up to three past epochs. With ``init`` 1 and no negatives left,
    every target of the first epoch is 1: what was removed matters from the second on. A penalty
    keeps predictions away from a trivial solution; under attacks that leave no negatives it is
    the only negative signal.

    Args:
        alpha: Weight of the newest stored prediction.
        beta: Weight of the one before.
        gamma: Weight of the oldest. The three sum to 1; the paper gives no values.
        init: Target of a hidden label before any prediction is stored.
        history: Whether pseudo-labels follow the predictions; otherwise they stay at ``init``.
        schedule: Weight of the hidden part at epoch c of t: ``exponential`` e^(c-t), ``linear``
            c/t, or ``constant`` 1.
        normaliser: What each part's sum is divided by: ``labels`` (Eq. 1), or ``part``, its size.
        penalty: Weight of the penalty.
        penalty_reference: The trivial solution: all ``ones``, all ``zeros``, or the ``pseudo``
            labels, as the printed symbol says.
        penalty_scope: Labels over which the distance is taken.
        penalty_norm: ``l2`` is the root mean square distance, ``l1`` the mean absolute one.
    """

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels, Eq. 2-7"
    references: ClassVar[str] = "zhang2024"
    uses_epoch: ClassVar[bool | None] = True
    per_image_state: ClassVar[bool | None] = True
    predictions: Tensor
    stored: Tensor

    def __init__(
        self,
        *,
        alpha: Weight = 0.5,
        beta: Weight = 0.3,
        gamma: Weight = 0.2,
        init: Weight = 1.0,
        history: bool = True,
        schedule: Literal["exponential", "linear", "constant"] = "exponential",
        normaliser: Literal["labels", "part"] = "labels",
        penalty: Annotated[float, Field(ge=0)] = 1.0,
        penalty_reference: Literal["ones", "zeros", "pseudo"] = "ones",
        penalty_scope: Literal["all", "observed", "hidden"] = "all",
        penalty_norm: Literal["l2", "l1"] = "l2",
    ) -> None:
        super().__init__()
        if not math.isclose(alpha + beta + gamma, 1, abs_tol=1e-6):
            raise ParameterError(
                "alpha + beta + gamma of defense 'pseudo-history' must be 1, got "
                f"{alpha + beta + gamma:g}"
            )
        self.weights = (alpha, beta, gamma)
        self.init = init
        self.history = history
        self.schedule = schedule
        self.normaliser = normaliser
        self.penalty = penalty
        self.penalty_reference = penalty_reference
        self.penalty_scope = penalty_scope
        self.penalty_norm = penalty_norm

    def bind(self, task: Task) -> None:
        """Allocates the history of predictions, newest first, and its length for each image."""
        images, labels = task.labels.shape
        self.register_buffer("predictions", torch.zeros(images, 3, labels))
        self.register_buffer("stored", torch.zeros(images, dtype=torch.int64))

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Eq. 7, averaged over the batch."""
        p = logits.sigmoid()
        past, count = self.predictions[step.index], self.stored[step.index]
        pseudo = self._pseudo_labels(past, count).to(logits.dtype)
        if self.history:
            newest = p.detach().to(past.dtype)[:, None]
            self.predictions[step.index] = torch.cat([newest, past[:, :2]], dim=1)
            self.stored[step.index] = (count + 1).clamp_max(3)
        shift = {
            "exponential": math.exp(step.epoch - step.epochs),
            "linear": step.epoch / step.epochs,
            "constant": 1.0,
        }[self.schedule]
        unknown = step.hidden
        target = torch.where(unknown, pseudo, step.positives.to(pseudo.dtype))
        entropy = cross_entropy(logits, target)
        terms = torch.where(
            unknown,
            shift * entropy / self._size(unknown),
            entropy / self._size(~unknown),
        )
        return (terms.sum(dim=1) + self.penalty * self._penalty(p, pseudo, step)).mean()

    def _pseudo_labels(self, past: Tensor, count: Tensor) -> Tensor:
        """Eq. 2 and 3: weighted mean of the stored predictions, ``init`` where there are none."""
        totals = 0.0, *accumulate(self.weights)
        # Predictions not stored yet are 0 and add nothing to the sum.
        shares = [[weight / (total or 1.0) for weight in self.weights] for total in totals]
        weights, total = (
            torch.tensor(each, dtype=past.dtype, device=past.device)[count]
            for each in (shares, totals)
        )
        mean = (weights[:, :, None] * past).sum(dim=1)
        return torch.where(total[:, None] > 0, mean, self.init)

    def _size(self, members: Tensor) -> Tensor | int:
        """Divisor of the sum over a part: L, or the part's size, ``[batch, 1]``."""
        if self.normaliser == "labels":
            return members.shape[1]
        return members.sum(dim=1, keepdim=True).clamp_min(1)

    def _penalty(self, p: Tensor, pseudo: Tensor, step: Step) -> Tensor:
        """Eq. 6 per image: 1 minus the distance to the trivial solution; 0 over no labels."""
        distance = p - {"ones": 1.0, "zeros": 0.0}.get(self.penalty_reference, pseudo)
        scope = None
        if self.penalty_scope != "all":
            scope = step.hidden if self.penalty_scope == "hidden" else ~step.hidden
        # vector_norm has gradient 0 at 0, where that of the square root is infinite.
        order = 2 if self.penalty_norm == "l2" else 1
        norm: Tensor = torch.linalg.vector_norm(
            distance if scope is None else distance * scope, ord=order, dim=1
        )
        if scope is None:
            return 1 - norm / float(p.shape[1] ** (1 / order))
        size = scope.sum(dim=1)
        return torch.where(size > 0, 1 - norm / size.clamp_min(1) ** (1 / order), 0.0)
