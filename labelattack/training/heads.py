"""Training many linear heads on the same features at once, each as if it were alone."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import TrainingDivergedError
from labelattack.evaluation.average_precision import mean_average_precisions
from labelattack.labels import BoolArray, PartialLabels, encode
from labelattack.seeding import permutation
from labelattack.training.fit import Best, Fit, adam, require_finite
from labelattack.training.hardware import free_memory, last_level_cache
from labelattack.training.inputs import FeatureInputs
from labelattack.training.recipe import Recipe

_PROBE_STEPS, _PROBE_IMAGES = 3, 16
_SCORES_AT_ONCE = 1 << 24  # numbers


def heads_at_once(
    images: int, labels: int, channels: int, *, device: torch.device, processes: int = 1
) -> int:
    """How many heads to train side by side: as many as stay in the cache between two steps.

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
        At least 1. Not more than half of the free memory would hold, had every loss four numbers
        for each image and label, as one that learns them has.
    """
    numbers = 4 * np.dtype(np.float32).itemsize
    in_cache = max(8, last_level_cache(device) // processes // (numbers * (channels + 1) * labels))
    memory = free_memory(device) // 2 // processes // (numbers * (channels + 1 + images) * labels)
    return max(1, min(in_cache, memory))


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
    """

    head: nn.Linear
    loss: PartialLabelLoss
    kind: str
    labels: PartialLabels
    recipe: Recipe
    seed: int
    val_labels: BoolArray
    val_scored: BoolArray | None = None


def fit_heads(
    runs: Sequence[HeadRun], train: FeatureInputs, val: FeatureInputs
) -> list[Fit | Exception]:
    """Trains the heads of a group side by side.

    Heads of one seed see the images in one order and share every product; losses of one kind are
    one call, and so are the optimiser's steps of one learning rate. Random streams are each run's
    own, so a run comes out as it would alone, up to the rounding of float32 sums. A loss whose
    arithmetic cannot be batched is called for each run in turn.

    Args:
        runs: The heads; one batch size, one number of epochs.
        train: Features of the training images.
        val: Features of the validation images.

    Returns:
        For each run, its fit, or why it failed. One failure leaves the others alone.
    """
    # Heads of one seed, and within it those of one learning rate, are slices of shared tensors.
    order = sorted(range(len(runs)), key=lambda row: (runs[row].seed, runs[row].recipe.lr))
    ordered = [runs[row] for row in order]
    of_kind: dict[str, list[int]] = defaultdict(list)
    for row, run in enumerate(ordered):
        of_kind[run.kind].append(row)
    signs, whose = _signs(ordered, train.features.device)
    losses = {
        kind: [ordered[row].loss.to(signs.device) for row in rows] for kind, rows in of_kind.items()
    }
    fits: list[Fit | Exception] | None = None
    # What a stranger's code raises later than in the check is found out run by run below.
    with suppress(Exception):
        kinds = [
            _way(rows, losses[kind], signs[:, :_PROBE_IMAGES][whose[rows, 0]])
            for kind, rows in of_kind.items()
        ]
        fits = _fit_ordered(ordered, train, val, (signs, whose), kinds)
    if fits is None:
        apart = [_Apart(rows, losses[kind], signs.device) for kind, rows in of_kind.items()]
        fits = _fit_ordered(ordered, train, val, (signs, whose), apart)
    found = dict(zip(order, fits, strict=True))
    return [found[row] for row in range(len(runs))]


def _fit_ordered(
    runs: list[HeadRun],
    train: FeatureInputs,
    val: FeatureInputs,
    labels: tuple[Tensor, Tensor],
    kinds: Sequence[_Losses],
) -> list[Fit | Exception]:
    signs, whose = labels
    device, recipe = signs.device, runs[0].recipe
    heads = _Heads(runs, device)
    optimizer, learned = _optimizer(runs, heads, kinds)
    own = torch.from_numpy(heads.seed_of).to(device)
    best = [Best() for _ in runs]
    failed: dict[int, Exception] = {}
    for epoch in range(1, recipe.epochs + 1):
        orders = torch.from_numpy(
            np.stack([permutation(len(train), seed, "shuffle", str(epoch)) for seed in heads.seeds])
        ).to(device)
        total = torch.zeros(len(runs), dtype=torch.float64, device=device)
        for rows in torch.split(orders, recipe.batch_size, dim=1):
            batches = [train.features[row] for row in rows]
            logits = heads.logits(batches)
            at_logits = torch.empty_like(logits)
            index = rows[own]
            known = signs[whose, index]
            slopes: list[Tensor] = []
            for losses in kinds:
                mine = losses.rows
                part, sign = logits[mine].requires_grad_(), known[mine]
                step = Step(
                    positives=sign > 0,
                    negatives=sign < 0,
                    index=index[mine],
                    epoch=epoch,
                    epochs=recipe.epochs,
                )
                values = losses(part, step, failed)
                at_logits[mine], *more = torch.autograd.grad(
                    values.sum(), [part, *losses.leaves], materialize_grads=True
                )
                slopes += more
                total[mine] += values.detach().double() * rows.shape[1]
            heads.differentiate(batches, at_logits)
            for view, number, where in learned:
                view.grad = slopes[number][where]
            optimizer.step()
        for row, score in enumerate(_validated(runs, heads, val)):
            if row in failed:
                continue
            try:
                mean_loss = require_finite(float(total[row]) / len(train), epoch)
                if score is None:
                    raise TrainingDivergedError("scores must be finite, got NaN or infinity")
                best[row].add(mean_loss, score, heads.state(row))
            except TrainingDivergedError as error:
                failed[row] = error
        if len(failed) == len(runs):
            break
    return [failed.get(row) or best[row].fit() for row in range(len(runs))]


class _Heads:
    """Parameters of linear heads, and their gradients, all labels of all heads as rows.

    Attributes:
        seeds: The seeds, ascending.
        seed_of: Which of them each head has, int64 ``[heads]``, ascending.
        pairs: Parameters with their gradients, ``[heads, ...]``.
    """

    def __init__(self, runs: list[HeadRun], device: torch.device) -> None:
        self.weight = torch.cat([run.head.weight.detach() for run in runs]).to(device)
        self.bias = torch.cat([run.head.bias.detach() for run in runs])[:, None].to(device)
        self.at_weight, self.at_bias = torch.empty_like(self.weight), torch.empty_like(self.bias)
        self.count, self.labels = len(runs), len(self.bias) // len(runs)
        found, self.seed_of = np.unique([run.seed for run in runs], return_inverse=True)
        self.seeds = [int(seed) for seed in found]
        ends = np.searchsorted(self.seed_of, range(len(found) + 1)) * self.labels
        self.shares = [slice(*ends) for ends in pairwise(ends.tolist())]
        self.pairs = [
            (value.view(len(runs), -1), slope.view(len(runs), -1))
            for value, slope in ((self.weight, self.at_weight), (self.bias, self.at_bias))
        ]

    def logits(self, batches: list[Tensor]) -> Tensor:
        """``[heads, batch, labels]``, given each seed's ``[batch, channels]``."""
        rows = [self._rows(*pair) for pair in zip(self.shares, batches, strict=True)]
        return torch.cat(rows).view(self.count, self.labels, -1).transpose(1, 2)

    def differentiate(self, batches: list[Tensor], at_logits: Tensor) -> None:
        """Puts the parameters' gradients in place, given those of the logits."""
        rows = at_logits.transpose(1, 2).reshape(len(self.bias), -1)
        for share, batch in zip(self.shares, batches, strict=True):
            torch.mm(rows[share], batch, out=self.at_weight[share])
        torch.sum(rows, 1, keepdim=True, out=self.at_bias)

    def state(self, row: int) -> dict[str, Tensor]:
        """Parameters of one head, as a linear layer names them."""
        (weight, _), (bias, _) = self.pairs
        return {"weight": weight[row].view(self.labels, -1), "bias": bias[row]}

    def scores(self, first: int, last: int, features: Tensor) -> Tensor:
        """Logits of some heads for all images, ``[heads, images, labels]``."""
        rows = self._rows(slice(first * self.labels, last * self.labels), features)
        return rows.view(last - first, self.labels, -1).transpose(1, 2)

    def _rows(self, share: slice, inputs: Tensor) -> Tensor:
        """Logits of some rows, ``[rows, images]``."""
        return torch.addmm(self.bias[share], self.weight[share], inputs.T)


def _validated(runs: list[HeadRun], heads: _Heads, val: FeatureInputs) -> Iterator[float | None]:
    """Validation mAP of each head, NaN where undefined; None if it has gone out of bounds."""
    at_once = max(1, _SCORES_AT_ONCE // runs[0].val_labels.size)
    for first in range(0, len(runs), at_once):
        some = runs[first : first + at_once]
        scores = heads.scores(first, first + len(some), val.features)
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


def _signs(runs: list[HeadRun], device: torch.device) -> tuple[Tensor, Tensor]:
    """Training labels as 1, -1 and 0 for hidden, each matrix once; and whose is which."""
    digests = [run.labels.digest() for run in runs]
    matrices = dict(zip(digests, (run.labels for run in runs), strict=True))
    places = {digest: number for number, digest in enumerate(matrices)}
    signs = np.stack([encode(labels, "signed") for labels in matrices.values()])
    whose = torch.tensor([[places[digest]] for digest in digests], device=device)
    return torch.from_numpy(signs).to(device), whose


class _Losses(Protocol):
    """The losses of one kind, called as one.

    Attributes:
        rows: Which heads of the group they are of, ascending int64.
        lr_scale: Learning rate of what they learn, as a multiple of the heads'.
        leaves: What they learn.
    """

    rows: Tensor
    lr_scale: float
    leaves: list[Tensor]

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        """Which leaves, and which part of each, belong to heads ``start`` to ``stop``."""
        ...

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        """Value for each head; tensors have the head as their first axis."""
        ...


class _Batched:
    """One call for all: the loss of the first head, mapped over the state of each."""

    def __init__(
        self, rows: list[int], losses: list[PartialLabelLoss], device: torch.device
    ) -> None:
        self.rows = torch.tensor(rows, device=device)
        self.loss, self.lr_scale = losses[0], losses[0].lr_scale
        self.parameters, self.buffers = stack_module_state(list(losses))
        self.leaves = list(self.parameters.values())

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        first, last = (bisect_left(self.rows.tolist(), row) for row in (start, stop))
        return [(number, slice(first, last)) for number in range(len(self.leaves))]

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        def one(
            state: tuple[dict[str, Tensor], dict[str, Tensor]],
            logits: Tensor,
            positives: Tensor,
            negatives: Tensor,
            index: Tensor,
        ) -> Tensor:
            alone = replace(step, positives=positives, negatives=negatives, index=index)
            value: Tensor = functional_call(self.loss, state, (logits, alone))
            return value

        state = (self.parameters, self.buffers)
        values: Tensor = vmap(one)(state, logits, step.positives, step.negatives, step.index)
        return values


class _Apart:
    """One call for each head, for losses that cannot be mapped."""

    def __init__(
        self, rows: list[int], losses: list[PartialLabelLoss], device: torch.device
    ) -> None:
        self.rows = torch.tensor(rows, device=device)
        self.losses, self.lr_scale = losses, losses[0].lr_scale
        owned = [
            (row, x) for row, loss in zip(rows, losses, strict=True) for x in loss.parameters()
        ]
        self.owners = [row for row, _ in owned]
        self.leaves: list[Tensor] = [leaf for _, leaf in owned]

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        return [(n, slice(None)) for n, row in enumerate(self.owners) if start <= row < stop]

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        values = []
        for place, (row, loss) in enumerate(zip(self.rows.tolist(), self.losses, strict=True)):
            value = logits[place].sum() * 0
            if row not in failed:
                alone = replace(
                    step,
                    positives=step.positives[place],
                    negatives=step.negatives[place],
                    index=step.index[place],
                )
                try:
                    value = loss(logits[place], alone)
                except Exception as error:
                    failed[row] = error
            values.append(value)
        return torch.stack(values)


def _way(rows: list[int], losses: list[PartialLabelLoss], signs: Tensor) -> _Losses:
    """One call for all the losses if it gives the values and gradients of a call for each."""
    # Whatever mapping a stranger's code raises: it can still be called for each head.
    with suppress(Exception):
        if len(losses) > 1 and _agree(losses, signs):
            return _Batched(rows, losses, signs.device)
    return _Apart(rows, losses, signs.device)


def _agree(losses: list[PartialLabelLoss], signs: Tensor) -> bool:
    """Runs a few steps on the same images both ways, on copies, state included."""
    rows, device = list(range(len(losses))), signs.device
    batched, apart = (way(rows, copy.deepcopy(losses), device) for way in (_Batched, _Apart))
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(signs.shape[1], device=device).repeat(len(losses), 1)
    failed: dict[int, Exception] = {}
    for epoch in range(1, _PROBE_STEPS + 1):
        logits = torch.randn(signs.shape, generator=generator).to(device).requires_grad_()
        step = Step(
            positives=signs > 0, negatives=signs < 0, index=index, epoch=epoch, epochs=_PROBE_STEPS
        )
        pair = [way(logits, step, failed) for way in (batched, apart)]
        slopes = [torch.autograd.grad(values.sum(), logits)[0] for values in pair]
        close = all(
            torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in (pair, slopes)
        )
        if failed or not close:
            return False
    return True


def _optimizer(
    runs: list[HeadRun], heads: _Heads, kinds: Sequence[_Losses]
) -> tuple[torch.optim.Optimizer, list[tuple[Tensor, int, slice]]]:
    """Adam over views of the shared tensors, a group for each learning rate.

    Returns:
        The optimiser; and each view of what losses learn, with the number of the leaf, counted
        over all kinds, that it is of, and where in it.
    """
    by_rate: dict[float, list[Tensor]] = defaultdict(list)
    learned: list[tuple[Tensor, int, slice]] = []
    start = 0
    for (_, lr), members in groupby(runs, key=lambda run: (run.seed, run.recipe.lr)):
        stop = start + len(list(members))
        for values, slopes in heads.pairs:
            view = values[start:stop]
            view.grad = slopes[start:stop]
            by_rate[lr].append(view)
        leaves = 0
        for losses in kinds:
            for number, where in losses.share(start, stop):
                view = losses.leaves[number].detach()[where]
                if not view.numel():
                    continue
                learned.append((view, leaves + number, where))
                by_rate[lr * losses.lr_scale].append(view)
            leaves += len(losses.leaves)
        start = stop
    groups = [{"params": views, "lr": rate} for rate, views in by_rate.items()]
    return adam(groups, heads.weight.device), learned
