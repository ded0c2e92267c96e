"""Choice of the fastest way to call a group's losses that gives what each gives alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import DefenseError
from labelattack.training.fallbacks import told
from labelattack.training.vectorized.group_loss import GroupLoss, SequentialLoss
from labelattack.training.vectorized.vmapped_loss import VmappedLoss

_log = logging.getLogger("labelattack")
_PROBE_STEPS = 3


def vectorize(
    losses: Sequence[PartialLabelLoss],
    runs: range,
    signs: Tensor,
    all_signs: Callable[[int], Tensor],
    *,
    calls: int = 0,
) -> GroupLoss:
    """One call for all losses if it gives the values and gradients of a call for each.

    Args:
        losses: Bound losses of one kind.
        runs: Positions of their runs among all that train together.
        signs: Labels of the first training images of each run, 1, -1 and 0 for hidden, int8
            ``[runs, images, labels]``; the calls are compared on them.
        all_signs: Gives those of all training images of a run, int8 ``[images, labels]``.
        calls: Expected number of calls in an epoch.

    Returns:
        The vmapped losses, or the losses called one by one, with the reason in ``fallbacks``.
    """
    if len(losses) == 1:
        return SequentialLoss(losses, runs)
    reason: Exception | None = None
    for by_rows in _ways(losses[0]):
        try:
            _require_agreement(losses, signs, all_signs, by_rows)
            batched = VmappedLoss(losses, runs, by_rows=by_rows, calls=calls)
            if reason is not None:
                what = f"tables of {_name(losses[0])} differentiated whole, not by rows"
                batched.fallbacks.append(told(what, reason))
            _log.debug("%s: %d losses in one call", _name(losses[0]), len(losses))
            return batched
        except Exception as error:  # whatever mapping raises, each run's can still be called
            reason = error
    return SequentialLoss(losses, runs, told(f"{_name(losses[0])} called one by one", reason))


def _ways(loss: PartialLabelLoss) -> tuple[bool, ...]:
    """Whether to differentiate learned tables by rows, the better way first.

    A loss without parameters, or one that declares them not to be of each image, has no rows.
    """
    tables = loss.per_image_state is not False and any(True for _ in loss.parameters())
    return (True, False) if tables else (False,)


def _name(loss: PartialLabelLoss) -> str:
    return type(loss).__name__


def _require_agreement(
    losses: Sequence[PartialLabelLoss],
    signs: Tensor,
    all_signs: Callable[[int], Tensor],
    by_rows: bool,
) -> None:
    """Compares a few steps and ends of epochs both ways, on copies, state included.

    Raises:
        Exception: What the loss raises.
        DefenseError: If values or gradients differ.
    """
    runs = range(len(losses))
    ways = VmappedLoss(copy.deepcopy(losses), runs, by_rows=by_rows), SequentialLoss(losses, runs)
    learned = [way.learned(runs) for way in ways]
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(signs.shape[1], device=signs.device).repeat(len(losses), 1)
    failed: dict[int, Exception] = {}
    for epoch in range(1, _PROBE_STEPS + 1):
        logits = torch.randn(signs.shape, generator=generator).to(signs.device)
        step = Step(
            positives=signs > 0, negatives=signs < 0, index=index, epoch=epoch, epochs=_PROBE_STEPS
        )
        batched, apart = (way(logits, step, failed) for way in ways)
        pairs = [*zip(batched, apart, strict=True)]
        for number, leaf in enumerate(learned[0]):
            each = learned[1][number :: len(learned[0])]
            pairs.append((_slope(leaf), torch.stack([_slope(one) for one in each])))
        for run in runs if ways[0].ends_epochs else ():
            whole = whole_step(all_signs(run), epoch, _PROBE_STEPS)
            logits = torch.randn(whole.positives.shape, generator=generator).to(signs.device)
            for way in ways:
                way.end_epoch(run, logits, whole, failed)
        if failed:
            raise next(iter(failed.values()))
        if not all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in pairs):
            raise DefenseError("several calls mapped to one must give what they give alone")


def whole_step(signs: Tensor, epoch: int, epochs: int) -> Step:
    """Step of all training images, given their labels as 1, -1 and 0, int8 ``[images, labels]``."""
    index = torch.arange(len(signs), device=signs.device)
    return Step(positives=signs > 0, negatives=signs < 0, index=index, epoch=epoch, epochs=epochs)


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
