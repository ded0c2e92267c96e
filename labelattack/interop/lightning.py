"""Criteria in Lightning: their parameters, epochs and ends of epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from labelattack.errors import DefenseError
from labelattack.optional import require
from labelattack.training.criterion import Criterion

require("lightning", "lightning")

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402


class CriterionCallback(Callback):
    """Serves the criteria of a LightningModule while it is trained.

    Parameters of a loss that have no group of their own in an optimiser get one before the first
    step, with the loss's multiple of the first group's learning rate. Before each epoch a criterion
    is told its number; after it, losses that choose among all training images get their logits.

    Labels must be given to a criterion at the latest in the module's ``setup``. A learning-rate
    schedule is made for the groups that there are, so ``configure_optimizers`` must then take
    ``criterion.parameter_groups(lr)`` itself.

    Args:
        predict: For losses that choose among all training images, a function from the module to
            their logits, ``[images, labels]``, in order and without augmentation; called without
            gradients and with the module in evaluation mode.
    """

    def __init__(self, predict: Callable[[LightningModule], Tensor] | None = None) -> None:
        super().__init__()
        self._predict = predict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the criteria, and gives the optimiser their parameters.

        Raises:
            DefenseError: If a loss has no labels, needs ``predict`` and there is none, reads the
                number of epochs and there is none, or has parameters that a schedule would miss.
        """
        for criterion in _criteria(pl_module):
            if criterion.loss.ends_epochs() and self._predict is None:
                raise DefenseError(
                    f"logits of all training images must be given to {criterion.name} after each "
                    "epoch, got no function that computes them; say CriterionCallback(predict=...)"
                )
            if criterion.loss.uses_epoch and _epochs(trainer) is None:
                raise DefenseError(
                    f"max_epochs of the trainer must be set for {criterion.name}, which reads it, "
                    f"got {trainer.max_epochs}"
                )
            _give_parameters(trainer, criterion)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the epoch."""
        epochs = _epochs(trainer)
        for criterion in _criteria(pl_module):
            if epochs is not None:
                criterion.set_epoch(trainer.current_epoch + 1, epochs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives losses that choose among all training images their logits."""
        for criterion in _criteria(pl_module):
            if criterion.loss.ends_epochs() and self._predict is not None:
                pl_module.eval()
                with torch.no_grad():
                    criterion.end_epoch(self._predict(pl_module))
                pl_module.train()


def _criteria(module: LightningModule) -> Iterator[Criterion]:
    return (part for part in module.modules() if isinstance(part, Criterion))


def _epochs(trainer: Trainer) -> int | None:
    """Number of epochs; None where the trainer has no limit."""
    epochs = trainer.max_epochs
    return epochs if epochs is not None and epochs > 0 else None


def _give_parameters(trainer: Trainer, criterion: Criterion) -> None:
    """Gives parameters of a criterion a group of their own, if they have none."""
    groups = [(one, group) for one in trainer.optimizers for group in one.param_groups]
    first, leading = groups[0]
    for own in criterion.parameter_groups(leading["lr"]):
        wanted = {id(parameter) for parameter in own["params"]}
        mixed = [(one, group) for one, group in groups if wanted & set(map(id, group["params"]))]
        if any(set(map(id, group["params"])) <= wanted for _, group in mixed):
            continue  # a group of their own, with a learning rate that was chosen
        if trainer.lr_scheduler_configs:
            raise DefenseError(
                f"parameters of {criterion.name} must be a group of their own before a schedule is "
                "made, but are not; give the optimiser the parameters of the network and "
                "*criterion.parameter_groups(lr) in configure_optimizers"
            )
        for _, group in mixed:
            group["params"] = [p for p in group["params"] if id(p) not in wanted]
        (mixed[0][0] if mixed else first).add_param_group(own)
