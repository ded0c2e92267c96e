"""Training many linear heads on the same features at once, each as if it were alone."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from labelattack.defenses.base import Step
from labelattack.errors import TrainingDivergedError
from labelattack.labels import encode
from labelattack.seeding import permutation
from labelattack.training.fallbacks import told
from labelattack.training.hardware import free_memory, last_level_cache, to_device
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import BestEpoch, Fit, mean_loss
from labelattack.training.optimizer import AdamSettings, adam_step, kernel_fault
from labelattack.training.training_run import TrainingRun
from labelattack.training.vectorized.device_maps import maps_of
from labelattack.training.vectorized.group_loss import GroupLoss, SequentialLoss
from labelattack.training.vectorized.stacked_heads import StackedHeads, stretches
from labelattack.training.vectorized.vectorize import vectorize, whole_step

_log = logging.getLogger("labelattack")
_PROBE_IMAGES = 16
_LABELS_AT_ONCE = 1 << 22  # numbers
_SCORES_AT_ONCE, _ON_OTHERS = 1 << 22, 1 << 24  # on the CPU, and on other devices
# Heads: beyond, on the CPU, they share no call's price that matters, and want memory. On a GPU the
# launches of a step's kernels take longer than the arithmetic of a thousand small heads.
_MOST, _MOST_ON_OTHERS = 128, 1024


def heads_at_once(
    images: int, labels: int, channels: int, *, device: torch.device, processes: int = 1
) -> int:
    """Number of heads to train together: as many as stay in half of the cache between two steps.

    A call has its price however many heads share it; but each step reads and writes four numbers
    for each parameter (weight, gradient, Adam's two), and from main memory that costs more than
    sharing saves. Fewer than eight share too little, whatever fits. On devices other than the CPU
    calls cost more and memory is faster: as many as memory holds, up to a limit.

    Args:
        images: Training images.
        labels: Labels of each.
        channels: Features of each.
        device: Where to compute.
        processes: How many share its last-level cache and memory.

    Returns:
        At least 1. Not more than half of the free memory would hold, had every loss six numbers
        for each image and label, as one that learns them has while it is recorded.
    """
    number = np.dtype(np.float32).itemsize
    # Features, labels and what the losses keep want their half of it, too.
    share = last_level_cache() // max(2, processes)
    head = 4 * (channels + 1) * labels * number
    on_cpu = device.type == "cpu"
    most = _MOST if on_cpu else _MOST_ON_OTHERS
    in_cache = max(8, share // head) if on_cpu else most
    memory = free_memory(device) // 2 // processes // (head + 6 * images * labels * number)
    _log.debug("heads at once: cache %d, memory %d, limit %d", in_cache, memory, most)
    return max(1, min(in_cache, memory, most))


def fit_heads(
    runs: Sequence[TrainingRun], train: FeatureInputs, val: FeatureInputs
) -> list[Fit | Exception]:
    """Trains the heads of a group side by side.

    Heads of one seed and one choice of images see these in one order and share every product;
    losses of one kind are one call, and so are the optimiser's steps of one recipe. Random streams
    are each run's own, so a run comes out as it would alone, up to the rounding of float32. A loss
    whose arithmetic cannot be batched is called for each run in turn.

    Args:
        runs: Runs of linear heads, which are not changed. They have one batch size, one number of
            epochs and of images, and all have validation labels, of the same images, or none has.
        train: Features of the training images.
        val: Features of the validation images.

    Returns:
        For each run, its fit, or why it failed. One failure leaves the others alone.
    """
    order = _laid_out(runs)
    ordered = [runs[row] for row in order]
    signs, whose = _signs(ordered, train.features.device)
    parts = [
        ([run.loss.to(signs.device) for run in ordered[part.start : part.stop]], part)
        for part in stretches(ordered, lambda run: run.kind)
    ]
    fits: list[Fit | Exception]
    try:
        checked = [
            vectorize(
                losses,
                part,
                signs[:, :_PROBE_IMAGES][whose[part.start : part.stop]],
                partial(_signs_of, (signs, whose), part),
                calls=len(runs[0].labels) // runs[0].recipe.batch_size,
            )
            for losses, part in parts
        ]
        fits = _fit_ordered(ordered, train, val, (signs, whose), checked)
    except Exception as error:  # what a stranger's code raises later than in the check
        reason = told(f"{len(runs)} heads trained again, their losses called one by one", error)
        apart = [SequentialLoss(losses, part, reason) for losses, part in parts]
        fits = _fit_ordered(ordered, train, val, (signs, whose), apart)
    found = dict(zip(order, fits, strict=True))
    return [found[row] for row in range(len(runs))]


def _laid_out(runs: Sequence[TrainingRun]) -> list[int]:
    """Runs in order: of one kind, within it of one order of images, and of one recipe, together."""
    kinds = list(dict.fromkeys(run.kind for run in runs))
    orders = [run.order for run in runs]
    by_seed = list(dict.fromkeys(sorted(orders, key=lambda order: order[0])))

    def place(row: int) -> tuple[int, int, AdamSettings]:
        return kinds.index(runs[row].kind), by_seed.index(orders[row]), _adam(runs[row])

    return sorted(range(len(runs)), key=place)


def _fit_ordered(
    runs: list[TrainingRun],
    train: FeatureInputs,
    val: FeatureInputs,
    labels: tuple[Tensor, Tensor],
    kinds: Sequence[GroupLoss],
) -> list[Fit | Exception]:
    device, recipe = labels[0].device, runs[0].recipe
    heads = StackedHeads([_head(run) for run in runs], [run.order for run in runs], device)
    step_all = _stepped(runs, heads, kinds)
    best = [BestEpoch(last=run.takes_last) for run in runs]
    rows = _rows(runs, device)
    failed: dict[int, Exception] = {}
    for epoch in range(1, recipe.epochs + 1):
        seen: list[Tensor] = []
        sizes: list[int] = []
        for batch in _batches(runs, labels, recipe.batch_size, epoch):
            inputs = [
                train.features.index_select(0, _images(rows, p.start, batch.index[p.start]))
                for p in heads.orders
            ]
            logits = heads.logits(inputs)
            values, at_logits = [], []
            for losses in kinds:
                mine = slice(losses.runs.start, losses.runs.stop)
                step = batch.step(mine, epoch, recipe.epochs)
                value, slope = losses(logits[mine], step, failed)
                values.append(value)
                at_logits.append(slope)
            heads.differentiate(inputs, at_logits)
            step_all()
            seen.append(torch.cat(values))
            sizes.append(batch.index.shape[1])
        _end_epoch(kinds, heads, (train.features, rows), labels, (epoch, recipe.epochs), failed)
        losses_seen = torch.stack(seen).T.tolist()
        for row, score in enumerate(_validated(runs, heads, val)):
            if row in failed:
                continue
            try:
                loss = mean_loss(losses_seen[row], sizes, epoch)
                if score is None:
                    raise TrainingDivergedError("scores must be finite, got NaN or infinity")
                best[row].add(loss, score, heads.state(row))
            except TrainingDivergedError as error:
                failed[row] = error
        if len(failed) == len(runs):
            break
    reasons = _fallbacks(kinds, device)
    return [failed.get(row) or best[row].fit(reasons[row]) for row in range(len(runs))]


def _end_epoch(
    kinds: Sequence[GroupLoss],
    heads: StackedHeads,
    images: tuple[Tensor, Tensor | None],
    labels: tuple[Tensor, Tensor],
    epochs: tuple[int, int],
    failed: dict[int, Exception],
) -> None:
    """Gives losses that ask for them the logits of all their images at the end of an epoch."""
    signs, whose = labels
    features, rows = images
    at_once = max(1, _scores_at_once(signs.device) // signs[0].numel())
    for losses in (losses for losses in kinds if losses.ends_epochs):
        for start in range(losses.runs.start, losses.runs.stop, at_once):
            some = range(start, min(start + at_once, losses.runs.stop))
            if rows is None:
                scores = [*heads.scores(some, features)]
            else:
                scores = [heads.scores(range(r, r + 1), features[rows[r]])[0] for r in some]
            for run, logits in zip(some, scores, strict=True):
                if run not in failed:
                    losses.end_epoch(run, logits, whole_step(signs[whose[run]], *epochs), failed)


def _fallbacks(kinds: Sequence[GroupLoss], device: torch.device) -> dict[int, list[str]]:
    """Reasons why fast paths were given up, by run."""
    fault = kernel_fault(device)
    own = [fault] if fault else []
    return {row: [*losses.fallbacks, *own] for losses in kinds for row in losses.runs}


@dataclass(frozen=True)
class _Batch:
    """One batch of each head.

    Attributes:
        index: Positions among the images of each head, int64 ``[heads, batch]``.
        positives: Observed positives, bool ``[heads, batch, labels]``.
        negatives: Observed negatives, likewise.
    """

    index: Tensor
    positives: Tensor
    negatives: Tensor

    def step(self, heads: slice, epoch: int, epochs: int) -> Step:
        """Step of some neighbours among the heads."""
        return Step(
            positives=self.positives[heads],
            negatives=self.negatives[heads],
            index=self.index[heads],
            epoch=epoch,
            epochs=epochs,
        )


def _head(run: TrainingRun) -> nn.Linear:
    return cast(nn.Linear, run.network)


def _adam(run: TrainingRun) -> AdamSettings:
    """Settings of the optimiser for the head."""
    return AdamSettings.of_network(run.recipe)


def _rows(runs: Sequence[TrainingRun], device: torch.device) -> Tensor | None:
    """Positions of each head's images, int64 ``[heads, images]``; None for all."""
    given = [run.rows for run in runs if run.rows is not None]
    return torch.from_numpy(np.stack(given)).to(device) if given else None


def _images(rows: Tensor | None, head: int, index: Tensor) -> Tensor:
    """Positions among all training images of some images of a head."""
    return index if rows is None else rows[head][index]


def _batches(
    runs: list[TrainingRun], labels: tuple[Tensor, Tensor], size: int, epoch: int
) -> Iterator[_Batch]:
    """An epoch's batches, each head's images in the order of its seed."""
    signs, whose = labels
    images = signs.shape[1]
    orders = {
        seed: permutation(images, seed, "shuffle", str(epoch))
        for seed in dict.fromkeys(run.seed for run in runs)
    }
    order = to_device(torch.from_numpy(np.stack([orders[run.seed] for run in runs])), signs.device)
    # Labels are put in order for many batches at once: for each, the calls would cost more.
    at_once = max(1, _LABELS_AT_ONCE // (len(runs) * size * signs.shape[2])) * size
    for index in torch.split(order, at_once, dim=1):
        known = signs[whose[:, None], index]
        both = known > 0, known < 0
        for parts in zip(*(torch.split(t, size, dim=1) for t in (index, *both)), strict=True):
            yield _Batch(*parts)


def _validated(
    runs: list[TrainingRun], heads: StackedHeads, val: FeatureInputs
) -> Iterator[float | None]:
    """Validation mAP of each head, NaN where undefined; None if it has gone out of bounds."""
    if runs[0].validation is None:
        yield from (math.nan if finite else None for finite in heads.finite())
        return
    chosen = [run.validation for run in runs if run.validation is not None]
    at_once = max(1, _scores_at_once(val.features.device) // chosen[0].labels.size)
    for first in range(0, len(runs), at_once):
        some = chosen[first : first + at_once]
        scores = heads.scores(range(first, first + len(some)), val.features)
        finite = scores.isfinite().all(2).all(1).tolist()
        labels = np.stack([each.labels for each in some])
        scored = None
        if any(each.scored is not None for each in some):
            everything = np.ones_like(some[0].labels)
            scored = np.stack([everything if e.scored is None else e.scored for e in some])
        found = maps_of(scores, labels, scored)
        yield from (float(v) if fine else None for v, fine in zip(found, finite, strict=True))


def _scores_at_once(device: torch.device) -> int:
    return _SCORES_AT_ONCE if device.type == "cpu" else _ON_OTHERS


def _signs_of(labels: tuple[Tensor, Tensor], part: range, place: int) -> Tensor:
    """Training labels of the run at a place within a part."""
    signs, whose = labels
    return signs[whose[part[place]]]


def _signs(runs: list[TrainingRun], device: torch.device) -> tuple[Tensor, Tensor]:
    """Training labels as 1, -1 and 0 for hidden, each matrix once; and whose is which."""
    digests = [run.labels.digest() for run in runs]
    matrices = dict(zip(digests, (run.labels for run in runs), strict=True))
    places = {digest: number for number, digest in enumerate(matrices)}
    signs = np.stack([encode(labels, "signed") for labels in matrices.values()])
    whose = torch.tensor([places[digest] for digest in digests], device=device)
    return torch.from_numpy(signs).to(device), whose


def _stepped(
    runs: list[TrainingRun], heads: StackedHeads, kinds: Sequence[GroupLoss]
) -> Callable[[], object]:
    """A step of Adam on all that is learned, one call for each of its settings."""
    parameters: dict[AdamSettings, list[Tensor]] = defaultdict(list)
    for losses in kinds:
        mine = runs[losses.runs.start : losses.runs.stop]
        for part in stretches(mine, lambda run: (run.seed, _adam(run))):
            run = mine[part.start]
            share = range(losses.runs.start + part.start, losses.runs.start + part.stop)
            for values, slopes in heads.pairs:
                view = values[share.start : share.stop]
                view.grad = slopes[share.start : share.stop]
                parameters[_adam(run)].append(view)
            if learned := losses.learned(share):
                parameters[AdamSettings.of_loss(run.recipe, losses.lr_scale)] += learned
    return adam_step(parameters)
