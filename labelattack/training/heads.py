"""Training many linear heads on the same features at once, each as if it were alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import TrainingDivergedError
from labelattack.labels import PartialLabels
from labelattack.seeding import permutation
from labelattack.training.fit import Best, Fit, Scores, adam, require_finite
from labelattack.training.inputs import FeatureInputs
from labelattack.training.recipe import Recipe

_PROBE_STEPS = 3


@dataclass(frozen=True)
class HeadRun:
    """One head to train.

    Attributes:
        head: Where to start; not changed.
        loss: A bound loss.
        labels: Attacked labels of the training images.
        recipe: Hyper-parameters; epochs and batch size are the same for the whole group.
        seed: Seed of shuffling.
        validate: Gives the validation mAP of logits of the validation images; NaN if undefined.
    """

    head: nn.Linear
    loss: PartialLabelLoss
    labels: PartialLabels
    recipe: Recipe
    seed: int
    validate: Callable[[Scores], float]


def fit_heads(
    runs: Sequence[HeadRun], train: FeatureInputs, val: FeatureInputs
) -> list[Fit | Exception]:
    """Trains the heads of a group; every product and optimiser step is one for all of them.

    Random streams are each run's own, so a run comes out as it would alone, up to the rounding of
    float32 sums. A loss whose arithmetic cannot be batched is called for each run in turn.

    Args:
        runs: The heads; one kind of loss, one batch size, one number of epochs.
        train: Features of the training images.
        val: Features of the validation images.

    Returns:
        For each run, its fit, or why it failed. One failure leaves the others alone.
    """
    # Neighbours with one learning rate share an optimiser group.
    order = sorted(range(len(runs)), key=lambda row: runs[row].recipe.lr)
    ordered = [runs[row] for row in order]
    device = train.features.device
    positives, negatives = (
        torch.from_numpy(np.stack([getattr(run.labels, sign) for run in ordered])).to(device)
        for sign in ("positives", "negatives")
    )
    losses = [run.loss.to(device) for run in ordered]
    fits: list[Fit | Exception] | None = None
    if _batchable(losses, positives, negatives):
        # What a stranger's code raises later than in the check is found out run by run below.
        with suppress(Exception):
            fits = _fit_ordered(ordered, train, val, positives, negatives, _Batched(losses))
    if fits is None:
        fits = _fit_ordered(ordered, train, val, positives, negatives, _Apart(losses))
    found = dict(zip(order, fits, strict=True))
    return [found[row] for row in range(len(runs))]


def _fit_ordered(
    runs: list[HeadRun],
    train: FeatureInputs,
    val: FeatureInputs,
    positives: Tensor,
    negatives: Tensor,
    losses: _Losses,
) -> list[Fit | Exception]:
    device, recipe = train.features.device, runs[0].recipe
    weight = torch.stack([run.head.weight.detach() for run in runs]).to(device)
    bias = torch.stack([run.head.bias.detach()[None] for run in runs]).to(device)
    own = torch.arange(len(runs), device=device)[:, None]
    optimizer, parts = _optimizer(runs, [weight, bias], losses)
    best = [Best() for _ in runs]
    failed: dict[int, Exception] = {}
    for epoch in range(1, recipe.epochs + 1):
        orders = torch.from_numpy(
            np.stack([permutation(len(train), r.seed, "shuffle", str(epoch)) for r in runs])
        ).to(device)
        total = torch.zeros(len(runs), dtype=torch.float64, device=device)
        for index in torch.split(orders, recipe.batch_size, dim=1):
            batch = train.features[index]
            logits = torch.baddbmm(bias, batch, weight.transpose(1, 2)).requires_grad_()
            step = Step(
                positives=positives[own, index],
                negatives=negatives[own, index],
                index=index,
                epoch=epoch,
                epochs=recipe.epochs,
            )
            values = losses(logits, step, failed)
            at_logits, *of_losses = torch.autograd.grad(
                values.sum(), [logits, *losses.leaves], materialize_grads=True
            )
            gradients = [at_logits.transpose(1, 2) @ batch, at_logits.sum(1, True), *of_losses]
            for view, number, where in parts:
                view.grad = gradients[number][where]
            optimizer.step()
            total += values.detach().double() * index.shape[1]
        scores = torch.baddbmm(bias, val.features.expand(len(runs), -1, -1), weight.transpose(1, 2))
        for row, run in enumerate(runs):
            if row in failed:
                continue
            try:
                mean_loss = require_finite(float(total[row]) / len(train), epoch)
                state = {"weight": weight[row], "bias": bias[row, 0]}
                best[row].add(mean_loss, run.validate(scores[row].cpu().numpy()), state)
            except TrainingDivergedError as error:
                failed[row] = error
        if len(failed) == len(runs):
            break
    return [failed.get(row) or best[row].fit() for row in range(len(runs))]


class _Losses(Protocol):
    """The losses of a group, called as one.

    Attributes:
        leaves: What the losses learn themselves.
    """

    leaves: list[Tensor]

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        """Which leaves, and which part of each, belong to some neighbouring runs."""
        ...

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        """Value for each run; tensors have the run as their first axis."""
        ...


class _Batched:
    """One call for all: the loss of the first run, mapped over the state of every run."""

    def __init__(self, losses: list[PartialLabelLoss]) -> None:
        self.loss = losses[0]
        self.parameters, self.buffers = stack_module_state(list(losses))
        self.leaves = list(self.parameters.values())

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        return [(number, slice(start, stop)) for number in range(len(self.leaves))]

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        def one(
            state: tuple[dict[str, Tensor], dict[str, Tensor]],
            logits: Tensor,
            positives: Tensor,
            negatives: Tensor,
            index: Tensor,
        ) -> Tensor:
            alone = Step(
                positives=positives,
                negatives=negatives,
                index=index,
                epoch=step.epoch,
                epochs=step.epochs,
            )
            value: Tensor = functional_call(self.loss, state, (logits, alone))
            return value

        state = (self.parameters, self.buffers)
        values: Tensor = vmap(one)(state, logits, step.positives, step.negatives, step.index)
        return values


class _Apart:
    """One call for each run, for losses that cannot be mapped."""

    def __init__(self, losses: list[PartialLabelLoss]) -> None:
        self.losses = losses
        owned = [(row, leaf) for row, loss in enumerate(losses) for leaf in loss.parameters()]
        self.owners = [row for row, _ in owned]
        self.leaves: list[Tensor] = [leaf for _, leaf in owned]

    def share(self, start: int, stop: int) -> list[tuple[int, slice]]:
        return [(n, slice(None)) for n, row in enumerate(self.owners) if start <= row < stop]

    def __call__(self, logits: Tensor, step: Step, failed: dict[int, Exception]) -> Tensor:
        values = []
        for row, loss in enumerate(self.losses):
            value = logits[row].sum() * 0
            if row not in failed:
                alone = Step(
                    positives=step.positives[row],
                    negatives=step.negatives[row],
                    index=step.index[row],
                    epoch=step.epoch,
                    epochs=step.epochs,
                )
                try:
                    value = loss(logits[row], alone)
                except Exception as error:
                    failed[row] = error
            values.append(value)
        return torch.stack(values)


def _batchable(losses: list[PartialLabelLoss], positives: Tensor, negatives: Tensor) -> bool:
    """Whether one call for all the losses gives the values and gradients of a call for each."""
    if len(losses) < 2:
        return False
    try:
        return _agree(losses, positives, negatives)
    except Exception:
        # Whatever mapping a stranger's code raises: it can still be called for each run.
        return False


def _agree(losses: list[PartialLabelLoss], positives: Tensor, negatives: Tensor) -> bool:
    """Runs a few steps on the same images both ways, on copies, state included."""
    batched, apart = _Batched(copy.deepcopy(losses)), _Apart(copy.deepcopy(losses))
    generator = torch.Generator().manual_seed(0)
    rows = min(16, positives.shape[1])
    index = torch.arange(rows, device=positives.device).repeat(len(losses), 1)
    failed: dict[int, Exception] = {}
    for epoch in range(1, _PROBE_STEPS + 1):
        shape = len(losses), rows, positives.shape[2]
        logits = torch.randn(shape, generator=generator).to(positives.device).requires_grad_()
        step = Step(
            positives=positives[:, :rows],
            negatives=negatives[:, :rows],
            index=index,
            epoch=epoch,
            epochs=_PROBE_STEPS,
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
    runs: list[HeadRun], heads: list[Tensor], losses: _Losses
) -> tuple[torch.optim.Optimizer, list[tuple[Tensor, int, slice]]]:
    """Adam over views of the shared tensors, a group for each learning rate.

    Returns:
        The optimiser; and each view with the number of the tensor it is of, and where in it.
    """
    tensors = [*heads, *losses.leaves]
    views: list[tuple[Tensor, int, slice]] = []
    groups = []
    start = 0
    for lr, members in groupby(runs, key=lambda run: run.recipe.lr):
        stop = start + len(list(members))
        own = [(number, slice(start, stop)) for number in range(len(heads))]
        learned = [(len(heads) + n, where) for n, where in losses.share(start, stop)]
        for parts, scale in ((own, 1.0), (learned, runs[start].loss.lr_scale)):
            found = [(tensors[n].detach()[where], n, where) for n, where in parts]
            views += found
            if found:
                groups.append({"params": [view for view, *_ in found], "lr": lr * scale})
        start = stop
    return adam(groups, heads[0].device), views
