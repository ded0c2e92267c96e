"""Detection of parameters of a loss that no optimiser moves."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from labelattack.errors import DefenseError

_PATIENCE = 2  # steps of other optimisers that may come before that of the loss's own


class ParameterUse:
    """Whether an optimiser moves the parameters of a loss.

    It follows the steps of all optimisers, for a loss may have one of its own.
    """

    def __init__(self) -> None:
        self._loss: nn.Module | None = None
        self._moved = False
        self._missed = 0

    def check(self, name: str, loss: nn.Module) -> None:
        """Follows a loss, from its first training step on.

        Args:
            name: Of the loss, for the message.
            loss: The loss.

        Raises:
            DefenseError: If optimisers made steps while the loss's parameters had gradients, and
                none of them holds those.
        """
        if self._moved or next(loss.parameters(), None) is None:
            return
        self._loss = loss
        _followed.add(self)
        if self._missed >= _PATIENCE:
            raise DefenseError(
                f"parameters of {name} must be in an optimiser, but are in none of those that made "
                "a step; add criterion.parameter_groups(lr) to its parameters, or "
                "optimizer.add_param_group each"
            )

    def after_step(self, optimizer: Optimizer) -> None:
        """Takes a step of some optimiser into account."""
        own = (
            {id(p) for p in self._loss.parameters() if p.grad is not None} if self._loss else set()
        )
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._missed += bool(own)
        if own & held:
            self._moved = True
            _followed.discard(self)


_followed: WeakSet[ParameterUse] = WeakSet()


def _after_step(optimizer: Optimizer, *_: Any) -> None:
    for use in list(_followed):
        use.after_step(optimizer)


register_optimizer_step_post_hook(_after_step)
