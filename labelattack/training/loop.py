"""Training loop of a single network, and its evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import ParameterError, TrainingDivergedError
from labelattack.labels import PartialLabels
from labelattack.seeding import permutation, stream_seed
from labelattack.training.distributed import (
    all_gather,
    data_parallel,
    local_shard,
    shard,
    world_size,
)
from labelattack.training.hardware import reduced_precision, to_device
from labelattack.training.inputs import Inputs, Rows, split_batches
from labelattack.training.optimizer import AdamSettings, adam
from labelattack.training.recipe import Epoch, Recipe

_log = logging.getLogger("labelattack")
Scores = NDArray[np.float32]
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Fit:
    """A finished training run.

    Attributes:
        epochs: Loss and validation mAP of each epoch.
        selected: Epoch (from 1) with the best validation mAP; the last if that is never defined or
            nothing is selected.
        state: The network's state after that epoch.
        fallbacks: Reasons why fast paths were given up, one line each; numbers are the same.
    """

    epochs: list[Epoch]
    selected: int
    state: dict[str, Tensor]
    fallbacks: tuple[str, ...] = ()


class BestEpoch:
    """Follows a run epoch by epoch and keeps the state that validates best.

    Args:
        last: Whether to keep that of the last epoch, whatever its score.
    """

    def __init__(self, *, last: bool = False) -> None:
        self._last = last
        self._epochs: list[Epoch] = []
        self._selected, self._score = 0, -math.inf
        self._state: dict[str, Tensor] = {}

    def add(self, loss: float, score: float, state: Mapping[str, Tensor]) -> None:
        """Takes the mean training loss of the next epoch, its validation mAP or NaN, its state."""
        undefined = math.isnan(score)
        self._epochs.append(Epoch(loss=loss, val_map=None if undefined else score))
        if self._last or score > self._score or (undefined and self._score == -math.inf):
            self._selected = len(self._epochs)
            self._score = self._score if undefined else score
            self._state = {name: tensor.detach().clone() for name, tensor in state.items()}

    def fit(self, fallbacks: Iterable[str] = ()) -> Fit:
        """The finished run, with the reasons why fast paths were given up."""
        return Fit(self._epochs, self._selected, self._state, tuple(fallbacks))


def mean_loss(values: Sequence[float], sizes: Sequence[int], epoch: int) -> float:
    """Mean over an epoch's images.

    Args:
        values: Loss of each batch.
        sizes: Images of each batch.
        epoch: Which epoch.

    Raises:
        TrainingDivergedError: If it is not finite.
    """
    total = 0.0
    for value, images in zip(values, sizes, strict=True):
        total += value * images
    mean = total / sum(sizes)
    if not math.isfinite(mean):
        raise TrainingDivergedError(f"loss must be finite, got {mean} in epoch {epoch}")
    return mean


def fit(
    network: nn.Module,
    loss: PartialLabelLoss,
    train: Inputs,
    val: Inputs,
    labels: PartialLabels,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    validate: Callable[[Scores], float] | None,
    last: bool = False,
) -> Fit:
    """Trains a network under a loss and keeps the epoch that validates best.

    Args:
        network: Maps a batch of inputs to logits ``[batch, labels]``; trained in place.
        loss: A bound loss.
        train: Training inputs.
        val: Validation inputs.
        labels: Attacked labels of the training images.
        recipe: Hyper-parameters.
        seed: Seed of shuffling and augmentation.
        device: Where to compute.
        validate: Gives the validation mAP of the validation images' logits; NaN where undefined.
            None: nothing is validated.
        last: Whether to keep the last epoch, whatever its validation mAP.

    Returns:
        History, the selected epoch, and the state at that epoch.

    Raises:
        TrainingDivergedError: If the loss is not finite.
        ParameterError: If batch normalisation is left with one number a channel.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss.to(device)
    optimizer = adam(
        [
            (AdamSettings.of_network(recipe), (p for p in network.parameters() if p.requires_grad)),
            (AdamSettings.of_loss(recipe, loss.lr_scale), loss.parameters()),
        ],
        device,
    )
    best = BestEpoch(last=last)
    for mean in epochs(network, loss, optimizer, train, labels, recipe, seed=seed, device=device):
        score = math.nan if validate is None else validate(predict(network, val))
        best.add(mean, score, network.state_dict())
    return best.fit()


def epochs(
    network: nn.Module,
    loss: PartialLabelLoss,
    optimizer: torch.optim.Optimizer,
    train: Inputs,
    labels: PartialLabels,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
) -> Iterator[float]:
    """Trains a network epoch by epoch; between epochs it is the caller's.

    Args:
        network: On ``device``; maps a batch of inputs to logits ``[batch, labels]``.
        loss: A bound loss, on ``device``.
        optimizer: Holds the parameters of both; its learning rates are used, the recipe's is not.
        train: Training inputs.
        labels: Attacked labels of the training images.
        recipe: Batch sizes and number of epochs.
        seed: Seed of shuffling and augmentation.
        device: Where to compute.

    Yields:
        Mean training loss of each epoch.

    Raises:
        TrainingDivergedError: If the loss is not finite.
    """
    parallel = data_parallel(network, device)
    step_of = _steps(labels, recipe, device)
    # Of one image, batch normalisation may have one number a channel, which has no variance; with
    # several processes each has an image of every batch.
    least = world_size() + 1 if normalises_batches(network) else 1
    for epoch in range(1, recipe.epochs + 1):
        parallel.train()
        order = permutation(len(train), seed, "shuffle", str(epoch))
        batches = split_batches(order, recipe.batch_size, least=least)
        own = [shard(rows) for rows in batches]
        values: list[Tensor] = []
        flips = stream_seed(seed, "augment", str(epoch))
        for rows, batch in zip(batches, train.stream(own, seed=flips), strict=True):
            step = step_of(rows, epoch)
            optimizer.zero_grad(set_to_none=True)
            with _fitting(recipe.micro_batch or len(batch), device):
                values.append(_backward(parallel, loss, batch, step, recipe.micro_batch, least))
            optimizer.step()
        if loss.ends_epochs():
            _end_epoch(loss, network, train, step_of(np.arange(len(train)), epoch))
        yield mean_loss(torch.stack(values).tolist(), [len(rows) for rows in batches], epoch)


@contextmanager
def _fitting(images: int, device: torch.device) -> Iterator[None]:
    """Says of a step that a GPU has no memory for what to do about it."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ParameterError(
            f"a step must fit the memory of {device}, got too little for {images} images at once; "
            "lower --micro-batch"
        ) from error


@torch.no_grad()
def _end_epoch(loss: PartialLabelLoss, network: nn.Module, train: Inputs, step: Step) -> None:
    """Gives a loss the logits of all training images at the end of an epoch."""
    loss.end_epoch(torch.from_numpy(predict(network, train)).to(step.index.device), step)


def _steps(
    labels: PartialLabels, recipe: Recipe, device: torch.device
) -> Callable[[Rows, int], Step]:
    """A function that gives, for images of one epoch, what a loss is told of them."""
    positives = torch.from_numpy(labels.positives.copy()).to(device)
    negatives = torch.from_numpy(labels.negatives.copy()).to(device)

    def step_of(rows: Rows, epoch: int) -> Step:
        index = to_device(torch.from_numpy(rows), device)
        return Step(
            positives=positives[index],
            negatives=negatives[index],
            index=index,
            epoch=epoch,
            epochs=recipe.epochs,
        )

    return step_of


def normalises_batches(network: nn.Module) -> bool:
    """Whether a network in training uses statistics over the images that it is given at once."""
    return any(isinstance(part, _BatchNorm) for part in network.modules())


def _backward(
    network: nn.Module,
    loss: PartialLabelLoss,
    batch: Tensor,
    step: Step,
    micro_batch: int | None,
    least: int,
) -> Tensor:
    """Leaves the gradients of one step in the parameters, and returns the loss.

    The loss is given the logits of the whole batch, of all processes and micro-batches, so that
    terms over a batch, and what it keeps of each image, are the same however the work is divided.
    Its gradient at the logits is then taken back through the network part by part.
    """
    lengths = [
        len(rows)
        for rows in split_batches(
            np.arange(len(batch)), micro_batch or len(batch), least=min(least, 2)
        )
    ]
    parts = torch.split(batch, lengths)
    with torch.set_grad_enabled(len(parts) == 1):
        logits = torch.cat([_forward(network, part) for part in parts])
    whole = all_gather(logits, len(step.index)).requires_grad_()
    value: Tensor = loss(whole, step)
    torch.autograd.backward(value)
    at_logits = torch.zeros_like(whole) if whole.grad is None else whole.grad
    # The parallel network averages over processes, and their sum is wanted.
    slopes = local_shard(at_logits, len(batch)) * world_size()
    if len(parts) == 1:
        torch.autograd.backward(logits, slopes)
        return value.detach()
    *first, last = zip(parts, torch.split(slopes, lengths), strict=True)
    alone = network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
    with alone:
        for part, slope in first:
            torch.autograd.backward(_forward(network, part), slope)
    torch.autograd.backward(_forward(network, last[0]), last[1])
    return value.detach()


def _forward(network: nn.Module, batch: Tensor) -> Tensor:
    """Logits in float32; reduced precision inside only where a GPU gains by it."""
    try:
        with reduced_precision(batch.device):
            logits: Tensor = network(batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ParameterError(
            "batch normalisation must see more than one image at a time, got one; raise "
            "--batch-size or --micro-batch"
        ) from error
    return logits.float()


@torch.inference_mode()
def predict(network: nn.Module, inputs: Inputs, *, alone: bool = False) -> Scores:
    """Logits of every image, float32 ``[images, labels]``, in order.

    Args:
        network: Maps a batch of inputs to logits.
        inputs: What to score.
        alone: Whether this process scores all of them, without the others that train with it.
    """
    network.eval()
    rows = np.arange(len(inputs))
    batches = split_batches(rows if alone else shard(rows), EVALUATION_BATCH)
    scores = torch.cat([*_logits(network, inputs.stream(batches))])
    return (scores if alone else all_gather(scores, len(rows))).cpu().numpy()


def _logits(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Logits of batches, in smaller parts from where the memory of a GPU does not hold them."""
    most = EVALUATION_BATCH
    for batch in batches:
        waiting = batch
        while len(waiting):
            try:
                found = network(waiting[:most]).float()
            except torch.cuda.OutOfMemoryError:
                if most == 1:
                    raise
                most = max(1, min(most, len(waiting)) // 2)
                _log.info("%d images are scored at a time, as memory allows", most)
                continue
            yield found
            waiting = waiting[most:]
