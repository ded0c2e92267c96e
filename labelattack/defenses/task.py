"""A training run as a loss is told of it: its labels before it starts, then batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelattack.errors import DefenseError
from labelattack.labels import NO_SIDE_TABLES, PartialLabels, SideTables


@dataclass(frozen=True, kw_only=True)
class Task:
    """Public facts of a training run, known before it starts.

    Attributes:
        labels: Attacked training labels, ``[images, labels]``, with ids and class names if known.
        seed: Seed for whatever the loss initialises at random.
        expected_positives: Mean number of positives per image as the dataset declares it;
            privileged knowledge, None where the dataset declares none.
        side: Side tables of the dataset, of the kinds that the loss declares.
        known: Labels before the attack, for an oracle that declares ``sees_attack``; else None.
    """

    labels: PartialLabels
    seed: int = 0
    expected_positives: float | None = None
    side: SideTables = NO_SIDE_TABLES
    known: PartialLabels | None = None

    def take(self, rows: NDArray[np.int64]) -> Task:
        """The same run on some of its images alone, in the given order."""
        return replace(
            self,
            labels=self.labels[rows],
            side=self.side.take(rows),
            known=None if self.known is None else self.known[rows],
        )


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


class EpochlessStep(Step):
    """A step whose epoch cannot be read, for losses that declare ``uses_epoch = False``.

    Args:
        loss: Name of the loss, for the message.
        positives: As of a step.
        negatives: As of a step.
        index: As of a step.
    """

    loss: str

    def __init__(self, loss: str, *, positives: Tensor, negatives: Tensor, index: Tensor) -> None:
        for name, value in (
            ("loss", loss), ("positives", positives), ("negatives", negatives), ("index", index),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def epoch(self) -> int:
        """Refused.

        Raises:
            DefenseError: Always.
        """
        raise self._undeclared("epoch")

    @property
    def epochs(self) -> int:
        """Refused.

        Raises:
            DefenseError: Always.
        """
        raise self._undeclared("epochs")

    def _undeclared(self, name: str) -> DefenseError:
        return DefenseError(
            f"{self.loss}.loss must not read the epoch, as it declares uses_epoch = False, but "
            f"reads step.{name}; declare uses_epoch = True"
        )


def to_step(labels: PartialLabels, index: Tensor, *, epoch: int = 1, epochs: int = 1) -> Step:
    """Cuts rows, int64 ``[batch]``, out of labels, as a step on the index's device."""
    batch = labels.take(index.cpu().numpy())
    return Step(
        positives=torch.from_numpy(batch.positives.copy()).to(index.device),
        negatives=torch.from_numpy(batch.negatives).to(index.device),
        index=index,
        epoch=epoch,
        epochs=epochs,
    )
