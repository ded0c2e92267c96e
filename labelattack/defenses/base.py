"""What a defense is, and the terms that losses are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from labelattack.errors import DefenseError
from labelattack.labels import PartialLabels


@dataclass(frozen=True, kw_only=True)
class Task:
    """Public facts of a training run, known before it starts.

    Attributes:
        labels: Attacked training labels, ``[images, labels]``.
        seed: Seed for whatever the loss initialises at random.
        expected_positives: Mean number of positives per image as the dataset declares it;
            privileged knowledge, None where the dataset declares none.
    """

    labels: PartialLabels
    seed: int = 0
    expected_positives: float | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training batch, without any hidden label.

    Attributes:
        positives: Observed positives, bool ``[batch, labels]``.
        negatives: Observed negatives, bool ``[batch, labels]``.
        index: Row of each image in the training set, int64 ``[batch]``.
        epoch: Current epoch, 1 to ``epochs``.
        epochs: Epochs in all.
    """

    positives: Tensor
    negatives: Tensor
    index: Tensor
    epoch: int = 1
    epochs: int = 1

    @property
    def hidden(self) -> Tensor:
        """Cells whose label is not known, bool ``[batch, labels]``."""
        return ~(self.positives | self.negatives)


class PartialLabelLoss(nn.Module, ABC):
    """A loss on logits and partial labels.

    Subclass with a keyword-only ``__init__`` whose arguments are the loss's parameters, implement
    [loss][labelattack.defenses.base.PartialLabelLoss.loss], and register it. State per image goes
    into buffers or parameters created in
    [bind][labelattack.defenses.base.PartialLabelLoss.bind], so that it moves and checkpoints with
    the module.

    Attributes:
        version: Raise it whenever the loss's value changes; results of two versions never mix.
        source: Where the loss comes from.
        oracle: Whether it must be given the clean labels; it is then a reference, not a defense.
        privileged: Whether it uses the dataset's declared number of positives per image.
        reduction: Native reduction over the batch-by-labels matrix.
        lr_scale: Learning rate of the loss's own parameters, as a multiple of the network's.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    oracle: ClassVar[bool] = False
    privileged: ClassVar[bool] = False
    reduction: ClassVar[Literal["mean", "sum"]] = "mean"
    lr_scale: float = 1.0

    def __init__(self) -> None:
        super().__init__()

    def bind(self, task: Task) -> None:
        """Allocates state for a training run; called once, before the first step."""

    @abstractmethod
    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Computes the loss of one batch.

        Args:
            logits: Float ``[batch, labels]``.
            step: The batch's partial labels and its place in training.

        Returns:
            Scalar, differentiable in ``logits``.
        """

    @final  # type: ignore[misc]  # torch declares it as an attribute
    def forward(self, logits: Tensor, step: Step) -> Tensor:
        """Checks shapes around [loss][labelattack.defenses.base.PartialLabelLoss.loss].

        Raises:
            DefenseError: If logits and labels differ in shape, or the result is not a scalar.
        """
        if logits.shape != step.positives.shape or logits.shape != step.negatives.shape:
            raise DefenseError(
                f"logits and labels must have one shape, got {tuple(logits.shape)} and "
                f"{tuple(step.positives.shape)}"
            )
        value = self.loss(logits, step)
        if value.shape != ():
            raise DefenseError(
                f"{type(self).__name__}.loss must return a scalar, got shape {tuple(value.shape)}"
            )
        return value


def positive_term(logits: Tensor) -> Tensor:
    """-log p, per cell, from logits."""
    return softplus(-logits)


def negative_term(logits: Tensor) -> Tensor:
    """-log(1 - p), per cell, from logits."""
    return softplus(logits)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with targets in [0, 1], bool or float, per cell."""
    # One softplus, not one for each sign: it is what a step of a small head spends most time on.
    return softplus(logits) - target * logits


def mixed_cross_entropy(logits: Tensor, weight: Tensor, positive: Tensor) -> Tensor:
    """Sum of weighted binary cross-entropies with several targets, per cell.

    Args:
        logits: Of any shape.
        weight: Sum of the weights, likewise.
        positive: Sum of each weight times its target, likewise.
    """
    return weight * softplus(logits) - positive * logits


def observed_term(logits: Tensor, step: Step) -> Tensor:
    """Cross-entropy on observed cells, 0 on hidden ones, per cell."""
    return (step.positives | step.negatives) * cross_entropy(logits, step.positives)


def assume_negative(logits: Tensor, step: Step, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with hidden cells as negatives and targets moved by ``smoothing``, per cell."""
    return cross_entropy(logits, step.positives * (1 - 2 * smoothing) + smoothing)


def count_penalty(probabilities: Tensor, expected: float) -> Tensor:
    """((batch mean of the number of predicted positives - expected) / labels) ** 2, a scalar."""
    return (probabilities.mean() - expected / probabilities.shape[1]).square()


def expected_count(name: str, declared: float | None, task: Task) -> float:
    """Returns k, the expected positives per image: the parameter if given, else the dataset's.

    Raises:
        DefenseError: If neither is there.
    """
    expected = task.expected_positives if declared is None else declared
    if expected is None:
        raise DefenseError(
            f"defense '{name}' needs the expected number of positives per image, got none; give it "
            f"as {name}:expected_positives=K or declare it on the dataset"
        )
    return expected


def to_step(labels: PartialLabels, index: Tensor, *, epoch: int = 1, epochs: int = 1) -> Step:
    """Cuts rows, int64 ``[batch]``, out of labels, as a step on the index's device."""
    rows = index.cpu().numpy()
    return Step(
        positives=torch.from_numpy(labels.positives[rows]).to(index.device),
        negatives=torch.from_numpy(labels.negatives[rows]).to(index.device),
        index=index,
        epoch=epoch,
        epochs=epochs,
    )
