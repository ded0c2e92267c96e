"""Losses of one kind that are called together, and the plain way to call them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from labelattack.defenses.base import PartialLabelLoss, Step


class GroupLoss(ABC):
    """Losses of one kind, one for each run.

    Attributes:
        runs: Positions of these runs among all that train together.
        lr_scale: Learning rate of the losses' own parameters, as a multiple of the network's.
        ends_epochs: Whether they want predictions after each epoch.
        fallbacks: Reasons why faster ways of calling them were given up, one line each.
    """

    def __init__(self, losses: Sequence[PartialLabelLoss], runs: range) -> None:
        self.runs = runs
        self.lr_scale = losses[0].lr_scale
        self.ends_epochs = losses[0].ends_epochs()
        self.fallbacks: list[str] = []

    def places(self, runs: range) -> slice:
        """Slice of these runs within this group."""
        return slice(runs.start - self.runs.start, runs.stop - self.runs.start)

    @abstractmethod
    def learned(self, runs: range) -> list[Tensor]:
        """Parameters of the losses of some runs; each call leaves their gradients in them."""

    @abstractmethod
    def __call__(
        self, logits: Tensor, step: Step, failed: dict[int, Exception]
    ) -> tuple[Tensor, Tensor]:
        """Computes values and gradients.

        Args:
            logits: Float ``[runs, batch, labels]``.
            step: As for one loss, with the run as first axis of its tensors; no image is in a
                batch twice.
            failed: Runs whose loss must not be called any more, and why; new failures are added.

        Returns:
            The value for each run, float ``[runs]``, and its gradient at the logits.
        """

    @abstractmethod
    def end_epoch(self, run: int, logits: Tensor, step: Step, failed: dict[int, Exception]) -> None:
        """Ends an epoch of one run.

        Args:
            run: Which run.
            logits: Of all training images, float ``[images, labels]``.
            step: All training images of the run.
            failed: As of a call.
        """


class SequentialLoss(GroupLoss):
    """One call for each run: the plain way, for any loss."""

    def __init__(self, losses: Sequence[PartialLabelLoss], runs: range, fallback: str = "") -> None:
        super().__init__(losses, runs)
        self.fallbacks += [fallback] * bool(fallback)
        # Copies: should the group have to start again, it does so from the state of the start.
        self.losses = copy.deepcopy(list(losses))
        self.leaves = self.learned(runs)

    def learned(self, runs: range) -> list[Tensor]:
        """The losses' parameters themselves."""
        return [leaf for loss in self.losses[self.places(runs)] for leaf in loss.parameters()]

    def __call__(
        self, logits: Tensor, step: Step, failed: dict[int, Exception]
    ) -> tuple[Tensor, Tensor]:
        """Calls one loss after the other."""
        logits = logits.detach().requires_grad_()
        values = []
        for place, (run, loss) in enumerate(zip(self.runs, self.losses, strict=True)):
            value = logits[place].sum() * 0
            if run not in failed:
                alone = replace(
                    step,
                    positives=step.positives[place],
                    negatives=step.negatives[place],
                    index=step.index[place],
                )
                try:
                    value = loss(logits[place], alone)
                except Exception as error:
                    failed[run] = error
            values.append(value)
        stacked = torch.stack(values)
        at_logits, *slopes = torch.autograd.grad(
            stacked.sum(), [logits, *self.leaves], materialize_grads=True
        )
        for leaf, slope in zip(self.leaves, slopes, strict=True):
            leaf.grad = slope
        return stacked.detach(), at_logits

    def end_epoch(self, run: int, logits: Tensor, step: Step, failed: dict[int, Exception]) -> None:
        """Calls that of the run's loss."""
        try:
            with torch.no_grad():
                self.losses[run - self.runs.start].end_epoch(logits, step)
        except Exception as error:
            failed.setdefault(run, error)
