"""Training many linear heads on the same features at once, each as if it were alone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import TrainingDivergedError
from labelattack.labels import BoolArray, PartialLabels, encode
from labelattack.metrics.average_precision import mean_average_precisions
from labelattack.seeding import permutation
from labelattack.training.fallbacks import told
from labelattack.training.hardware import free_memory, last_level_cache
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import BestEpoch, Fit, mean_loss
from labelattack.training.optimizer import AdamSettings, adam_step, kernel_fault
from labelattack.training.recipe import Recipe
from labelattack.training.vectorized.group_loss import GroupLoss, SequentialLoss
from labelattack.training.vectorized.stacked_heads import StackedHeads, stretches
from labelattack.training.vectorized.vectorize import vectorize, whole_step

_log = logging.getLogger("labelattack")
_PROBE_IMAGES = 16
_LABELS_AT_ONCE = _SCORES_AT_ONCE = 1 << 22  # numbers
_MOST = 128  # heads; more share no call's price that matters, and want memory


def heads_at_once(
    images: int, labels: int, channels: int, *, device: torch.device, processes: int = 1
) -> int:
    """Number of heads to train together: as many as stay in half of the cache between two steps.

    A call has its price however many heads share it; but each step reads and writes four numbers
    for each parameter (weight, gradient, Adam's two), and from main memory that costs more than
    sharing saves. Fewer than eight share too little, whatever fits.

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
    share = last_level_cache(device) // max(2, processes)
    head = 4 * (channels + 1) * labels * number
    in_cache = max(8, share // head)
    memory = free_memory(device) // 2 // processes // (head + 6 * images * labels * number)
    _log.debug("heads at once: cache %d, memory %d, limit %d", in_cache, memory, _MOST)
    return max(1, min(in_cache, memory, _MOST))


@dataclass(frozen=True)
class HeadRun:
    """One head to train.

    Attributes:
        head: Where to start; not changed.
        loss: A bound loss.
        kind: Runs of one kind have the same loss with the same parameters.
        labels: Attacked labels of the training images.
        recipe: Hyper-parameters; epochs and batch size are the same for the whole group.
        seed: Seed of shuffling.
        val_labels: What validation mAP is computed on, bool ``[images, labels]``.
        val_scored: Cells of it that count, likewise; None for all.
        last: Whether to keep the last epoch, whatever its validation mAP.
    """

    head: nn.Linear
    loss: PartialLabelLoss
    kind: str
    labels: PartialLabels
    recipe: Recipe
    seed: int
    val_labels: BoolArray
    val_scored: BoolArray | None = None
    last: bool = False

    @property
    def adam(self) -> AdamSettings:
        """Settings of the optimiser for the head."""
        return AdamSettings.of_network(self.recipe)


def fit_heads(
    runs: Sequence[HeadRun], train: FeatureInputs, val: FeatureInputs
) -> list[Fit | Exception]:
    """Trains the heads of a group side by side.

    Heads of one seed see the images in one order and share every product; losses of one kind are
    one call, and so are the optimiser's steps of one recipe. Random streams are each run's
    own, so a run comes out as it would alone, up to the rounding of float32. A loss whose
    arithmetic cannot be batched is called for each run in turn.

    Args:
        runs: The heads; one batch size, one number of epochs.
        train: Features of the training images.
        val: Features of the validation images.

    Returns:
        For each run, its fit, or why it failed. One failure leaves the others alone.
    """
    # Heads of one kind, within it those of one seed, and of one recipe, lie together.
    kinds = list(dict.fromkeys(run.kind for run in runs))

    def place(row: int) -> tuple[int, int, AdamSettings]:
        return kinds.index(runs[row].kind), runs[row].seed, runs[row].adam

    order = sorted(range(len(runs)), key=place)
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
                calls=len(train) // runs[0].recipe.batch_size,
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


def _fit_ordered(
    runs: list[HeadRun],
    train: FeatureInputs,
    val: FeatureInputs,
    labels: tuple[Tensor, Tensor],
    kinds: Sequence[GroupLoss],
) -> list[Fit | Exception]:
    device, recipe = labels[0].device, runs[0].recipe
    heads = StackedHeads([run.head for run in runs], [run.seed for run in runs], device)
    step_all = _stepped(runs, heads, kinds)
    best = [BestEpoch(last=run.last) for run in runs]
    failed: dict[int, Exception] = {}
    for epoch in range(1, recipe.epochs + 1):
        seen: list[Tensor] = []
        sizes: list[int] = []
        for batch in _batches(runs, len(train), labels, recipe.batch_size, epoch):
            inputs = [train.features.index_select(0, batch.index[p.start]) for p in heads.orders]
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
        _end_epoch(kinds, heads, train.features, labels, (epoch, recipe.epochs), failed)
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
    features: Tensor,
    labels: tuple[Tensor, Tensor],
    epochs: tuple[int, int],
    failed: dict[int, Exception],
) -> None:
    """Gives losses that ask for them the logits of all training images at the end of an epoch."""
    signs, whose = labels
    at_once = max(1, _SCORES_AT_ONCE // signs[0].numel())
    for losses in (losses for losses in kinds if losses.ends_epochs):
        for start in range(losses.runs.start, losses.runs.stop, at_once):
            some = range(start, min(start + at_once, losses.runs.stop))
            for run, logits in zip(some, heads.scores(some, features), strict=True):
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
        index: Rows of the images in the training set, int64 ``[heads, batch]``.
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


def _batches(
    runs: list[HeadRun], images: int, labels: tuple[Tensor, Tensor], size: int, epoch: int
) -> Iterator[_Batch]:
    """An epoch's batches, each head's images in the order of its seed."""
    signs, whose = labels
    orders = {
        seed: permutation(images, seed, "shuffle", str(epoch))
        for seed in dict.fromkeys(run.seed for run in runs)
    }
    order = torch.from_numpy(np.stack([orders[run.seed] for run in runs])).to(signs.device)
    # Labels are put in order for many batches at once: for each, the calls would cost more.
    at_once = max(1, _LABELS_AT_ONCE // (len(runs) * size * signs.shape[2])) * size
    for index in torch.split(order, at_once, dim=1):
        known = signs[whose[:, None], index]
        both = known > 0, known < 0
        for parts in zip(*(torch.split(t, size, dim=1) for t in (index, *both)), strict=True):
            yield _Batch(*parts)


def _validated(
    runs: list[HeadRun], heads: StackedHeads, val: FeatureInputs
) -> Iterator[float | None]:
    """Validation mAP of each head, NaN where undefined; None if it has gone out of bounds."""
    at_once = max(1, _SCORES_AT_ONCE // runs[0].val_labels.size)
    for first in range(0, len(runs), at_once):
        some = runs[first : first + at_once]
        scores = heads.scores(range(first, first + len(some)), val.features)
        finite = scores.isfinite().all(2).all(1).tolist()
        labels = np.stack([run.val_labels for run in some])
        scored = None
        if any(run.val_scored is not None for run in some):
            everything = np.ones_like(runs[0].val_labels)
            scored = np.stack(
                [everything if run.val_scored is None else run.val_scored for run in some]
            )
        found = mean_average_precisions(scores.cpu().numpy(), labels, scored=scored)
        yield from (float(v) if fine else None for v, fine in zip(found, finite, strict=True))


def _signs_of(labels: tuple[Tensor, Tensor], part: range, place: int) -> Tensor:
    """Training labels of the run at a place within a part."""
    signs, whose = labels
    return signs[whose[part[place]]]


def _signs(runs: list[HeadRun], device: torch.device) -> tuple[Tensor, Tensor]:
    """Training labels as 1, -1 and 0 for hidden, each matrix once; and whose is which."""
    digests = [run.labels.digest() for run in runs]
    matrices = dict(zip(digests, (run.labels for run in runs), strict=True))
    places = {digest: number for number, digest in enumerate(matrices)}
    signs = np.stack([encode(labels, "signed") for labels in matrices.values()])
    whose = torch.tensor([places[digest] for digest in digests], device=device)
    return torch.from_numpy(signs).to(device), whose


def _stepped(
    runs: list[HeadRun], heads: StackedHeads, kinds: Sequence[GroupLoss]
) -> Callable[[], object]:
    """A step of Adam on all that is learned, one call for each of its settings."""
    parameters: dict[AdamSettings, list[Tensor]] = defaultdict(list)
    for losses in kinds:
        mine = runs[losses.runs.start : losses.runs.stop]
        for part in stretches(mine, lambda run: (run.seed, run.adam)):
            run = mine[part.start]
            share = range(losses.runs.start + part.start, losses.runs.start + part.stop)
            for values, slopes in heads.pairs:
                view = values[share.start : share.stop]
                view.grad = slopes[share.start : share.stop]
                parameters[run.adam].append(view)
            if learned := losses.learned(share):
                parameters[AdamSettings.of_loss(run.recipe, losses.lr_scale)] += learned
    return adam_step(parameters)
