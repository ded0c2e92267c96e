"""Targets and rows of a batch, as a criterion takes them from any training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelattack.defenses.task import EpochlessStep, Step, to_step
from labelattack.errors import DefenseError, LabelError
from labelattack.labels import Encoding, PartialLabels
from labelattack.labels.encoding import CODES, Decoder

Index = Tensor | Sequence[int] | NDArray[np.integer[Any]]
NO_ROW = 2**62
"""Row of an image that has none: a loss that looks something up there fails."""

_CODELESS = torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64


class UntoldStep(EpochlessStep):
    """A step of an epoch that the criterion was not told."""

    def _undeclared(self, name: str) -> DefenseError:
        return DefenseError(
            f"epoch must be told to {self.loss}, which reads it, got none; call "
            "criterion.set_epoch(epoch, epochs) before each"
        )


def check_logits(logits: Tensor) -> None:
    """Raises DefenseError unless logits are floats ``[batch, labels]``."""
    if logits.ndim != 2 or not logits.is_floating_point():
        raise DefenseError(
            f"logits must be floats [batch, labels], got {logits.dtype} {list(logits.shape)}"
        )


def rows_of(index: Index | None, logits: Tensor, labels: PartialLabels | None) -> Tensor | None:
    """Rows of a batch's images, int64 ``[batch]``, on the device of the logits.

    Args:
        index: As the caller gave it.
        logits: Of the batch.
        labels: Training labels that the rows must lie in; None where that is not checked.

    Raises:
        DefenseError: If the index is no row for each image of the batch.
    """
    if index is None:
        return None
    rows = torch.as_tensor(index, device=logits.device)
    if rows.dtype == torch.bool or rows.is_floating_point() or rows.shape != logits.shape[:1]:
        raise DefenseError(
            f"index must be an integer for each of the {len(logits)} images of the batch, got "
            f"{rows.dtype} {list(rows.shape)}"
        )
    rows = rows.long()
    if labels is not None and ((rows < 0) | (rows >= len(labels))).any():
        wrong = rows[(rows < 0) | (rows >= len(labels))][0].item()
        raise DefenseError(f"index must be in 0..{len(labels) - 1}, got {wrong}")
    return rows


def targets(
    target: Tensor | None,
    encoding: Encoding,
    logits: Tensor,
    rows: Tensor | None,
    labels: PartialLabels | None,
    check: bool,
) -> tuple[Tensor, Tensor]:
    """Observed positives and negatives of a batch, bool ``[batch, labels]`` each.

    Args:
        target: As the caller gave it; None for the training labels of the rows.
        encoding: Of the target.
        logits: Of the batch.
        rows: Of its images, if they are known.
        labels: Training labels, if they are known.
        check: Whether to check the target, also against the training labels.

    Raises:
        LabelError: If a target is no code of the encoding, or not the training label.
        DefenseError: If there are neither targets nor labels.
    """
    known = None
    if labels is not None and rows is not None and (check or target is None):
        known = to_step(labels, rows)
    if target is None:
        if known is None:
            raise DefenseError("target must be given, or labels to the criterion, got neither")
        return known.positives, known.negatives
    if target.shape != logits.shape:
        raise LabelError(
            f"target must have the shape of the logits, {list(logits.shape)}, got "
            f"{list(target.shape)}"
        )
    positives, negatives = _decoded(target.to(logits.device), encoding, check)
    if known is not None and rows is not None:
        _check_same(positives, negatives, rows, known)
    return positives, negatives


def _decoded(target: Tensor, encoding: Encoding, check: bool) -> tuple[Tensor, Tensor]:
    _, negative, hidden = CODES[encoding]
    if target.dtype in _CODELESS:  # where -1 would be their largest number
        target = target.long()
    positives, negatives = target == 1, target == negative
    if check:
        unknown = target.isnan() if hidden is not None and np.isnan(hidden) else target == hidden
        known = positives | negatives
        if not (known if hidden is None else known | unknown).all():
            decoder, numbers = Decoder(encoding), target.detach().cpu().double().numpy()
            decoder.decode(
                numbers,
                lambda row, column: f"{numbers[row, column]:g} in row {row}, column {column}",
            )
            decoder.check()
    return positives, negatives


def _check_same(positives: Tensor, negatives: Tensor, rows: Tensor, known: Step) -> None:
    """Raises LabelError unless targets are the training labels of the rows."""
    differ = (positives != known.positives) | (negatives != known.negatives)
    if not differ.any():
        return
    row, column = (int(i) for i in differ.nonzero()[0])
    said, given = (
        "positive" if p[row, column] else "negative" if n[row, column] else "unknown"
        for p, n in ((positives, negatives), (known.positives, known.negatives))
    )
    raise LabelError(
        f"target must be the label of its image, got {said} in row {row}, column {column} of the "
        f"batch, where labels[{rows[row].item()}, {column}] is {given}; index must be the row of "
        "each image in the training labels, or say check=False for targets that are changed on "
        "purpose"
    )
