"""Partition aggregation: a network for each part of the training images, and their median."""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from labelattack.datasets.base import Splits
from labelattack.errors import ParameterError
from labelattack.labels import PartialLabels
from labelattack.models.base import Model
from labelattack.models.median_ensemble import MedianEnsemble
from labelattack.registry.spec import Spec
from labelattack.seeding import stream_seed
from labelattack.training.compute import Compute
from labelattack.training.inputs import Rows
from labelattack.training.isolation import attempt
from labelattack.training.loop import Fit, predict
from labelattack.training.protocols.base import Prepared, TrainingProtocol
from labelattack.training.recipe import Epoch, SearchSpace
from labelattack.training.training_run import TrainingRun

AT_ONCE = 128
"""Parts that train together: a fixed number, as a part must not depend on what memory is free."""


@dataclass(frozen=True, kw_only=True)
class PartitionAggregation(TrainingProtocol):
    """Another protocol, once for each part of the training images: ``linear:parts=50``.

    Whoever changes the labels of r images changes at most r of the networks, as all that is learned
    from labels is learned within a part: weights, what a loss keeps or estimates, and which labels
    a network abstains from, those without a known positive in its part. What the parts share
    depends on no label: the division, by a hash of the images' names; initial weights; and
    the images by which scores are standardised, those of validation. No epoch is selected. After
    Levine and Feizi 2021 (deep partition aggregation), with the median of
    [MedianEnsemble][labelattack.models.median_ensemble.MedianEnsemble] in place of votes.

    Attributes:
        inner: The protocol that trains each part.
    """

    inner: TrainingProtocol

    def __post_init__(self) -> None:
        """Takes over what the other protocol declares of its inputs."""
        for name in ("uses_micro_batches", "reads_images", "on_features"):
            object.__setattr__(self, name, getattr(self.inner, name))
        object.__setattr__(self, "has_one_backbone", self.inner.on_features)
        object.__setattr__(self, "validates", False)

    def search_space(self, model: Model) -> SearchSpace:
        """The one learning rate and batch size that the other protocol has for parts."""
        return self.inner.part_search_space(model)

    def prepare(self, splits: Splits, model: Spec, compute: Compute) -> Prepared:
        """As the other protocol does.

        Raises:
            ParameterError: If there are more parts than images.
        """
        images = len(splits.train)
        if self.parts > images:
            raise ParameterError(
                f"parts must be at most {images}, the number of training images, got {self.parts}"
            )
        return self.inner.prepare(splits, model, compute)

    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """An ensemble of what the other protocol builds, all with the same initial weights."""
        first = self.inner.build(model, labels, seed=seed)
        others = (copy.deepcopy(first) for _ in range(self.parts - 1))
        return MedianEnsemble([first, *others], labels)

    def whole(self, model: Model, trained: nn.Module) -> nn.Module:
        """The ensemble of whole networks, or that of heads on one frozen backbone."""
        return self.inner.whole(model, trained)

    @classmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Never: weights alone do not tell how many parts there are, nor of what."""
        return False

    def boosted(self, scale: float) -> Spec:
        """Not offered.

        Raises:
            ParameterError: Always.
        """
        raise ParameterError(
            f"parts must be 1 for a loss that multiplies class activations (here by {scale}), got "
            f"{self.parts}"
        )

    def train(
        self, runs: Sequence[TrainingRun], prepared: Prepared, device: torch.device
    ) -> list[Fit | Exception]:
        """Trains the ensemble of each run, its parts side by side where the other protocol can."""
        return [attempt(self._fit, run, prepared, device) for run in runs]

    def _fit(self, run: TrainingRun, prepared: Prepared, device: torch.device) -> Fit:
        parts = parts_of(run.labels, self.parts, run.seed)
        fits = self._fit_parts(run, parts, prepared, device)
        return assembled(run, parts, fits, prepared, device)

    def _fit_parts(
        self, run: TrainingRun, parts: Sequence[Rows], prepared: Prepared, device: torch.device
    ) -> list[Fit | Exception]:
        """Fit of each part, or why it failed."""
        ensemble = cast(MedianEnsemble, run.network)
        of_size: dict[int, list[tuple[int, TrainingRun]]] = defaultdict(list)
        found: dict[int, Fit | Exception] = {}
        for number, rows in enumerate(parts):
            made = attempt(part_run, run, ensemble.members[number], rows, number)
            if isinstance(made, TrainingRun):
                of_size[len(rows)].append((number, made))
            else:
                found[number] = made
        for members in of_size.values():
            for start in range(0, len(members), AT_ONCE):
                numbers, group = zip(*members[start : start + AT_ONCE], strict=True)
                fits = self.inner.train(group, prepared, device)
                found |= dict(zip(numbers, fits, strict=True))
        return [found[number] for number in range(len(parts))]


def assembled(
    run: TrainingRun,
    parts: Sequence[Rows],
    fits: Sequence[Fit | Exception],
    prepared: Prepared,
    device: torch.device,
) -> Fit:
    """Ensemble of the networks of the parts.

    A part that failed abstains from all labels: that, too, depends on its own labels alone.

    Args:
        run: The run that was divided; its network becomes the ensemble.
        parts: Positions of the images of each part.
        fits: Fit of each part, or why it failed.
        prepared: The inputs.
        device: Where to compute.

    Raises:
        Exception: Why the first part failed, if all did.
    """
    ensemble = cast(MedianEnsemble, run.network).to(device)
    done = {number: fit for number, fit in enumerate(fits) if isinstance(fit, Fit)}
    failed = [error for error in fits if isinstance(error, Exception)]
    if not done:
        raise failed[0]
    for number, member in enumerate(ensemble.members):
        informed = run.labels.positives[parts[number]].any(axis=0) & (number in done)
        ensemble.abstains[number] = torch.from_numpy(~informed).to(device)
        if number in done:
            member.load_state_dict(done[number].state)
            logits = predict(member, prepared.val, alone=True)
            ensemble.standardise(number, torch.from_numpy(logits).to(device))
    found = run.validate(predict(ensemble, prepared.val, alone=True))
    losses = np.array([[epoch.loss for epoch in fit.epochs] for fit in done.values()])
    means = np.average(losses, axis=0, weights=[len(parts[number]) for number in done])
    epochs = [Epoch(loss=float(mean), val_map=None) for mean in means]
    epochs[-1] = Epoch(loss=epochs[-1].loss, val_map=None if np.isnan(found) else found)
    state = {name: value.detach().clone() for name, value in ensemble.state_dict().items()}
    reasons = dict.fromkeys(reason for fit in done.values() for reason in fit.fallbacks)
    if failed:
        why = f"{type(failed[0]).__name__}: {failed[0]}"
        reasons[f"{len(failed)} of {len(fits)} parts abstain, as training failed: {why}"] = None
    return Fit(epochs, len(epochs), state, tuple(reasons))


def part_run(run: TrainingRun, network: nn.Module, rows: Rows, number: int) -> TrainingRun:
    """The run of one part: on its images alone, and not validated.

    Args:
        run: The run that is divided.
        network: What the part trains.
        rows: Positions of its images, int64 ``[images]``, ascending.
        number: Number of the part.

    Raises:
        ParameterError: If the run cannot be divided.
    """
    if run.loss_on is None:
        raise ParameterError("parts need a run whose loss can be bound to some of the images")
    return TrainingRun(
        network=network,
        loss=run.loss_on(rows),
        kind=run.kind,
        labels=run.labels[rows],
        validation=None,
        recipe=run.recipe,
        seed=stream_seed(run.seed, "part", str(number)),
        rows=rows,
    )


def parts_of(labels: PartialLabels, parts: int, seed: int) -> list[Rows]:
    """Division of images into parts, equal in size but for one image.

    Images are sorted by a hash of their names, or of their positions if they have none, and dealt
    to the parts in turn, as Levine and Feizi 2021 do where labels alone can be changed (SS-DPA).
    Labels are not looked at.

    Args:
        labels: Labels of the images, with their names.
        parts: Number of parts.
        seed: Seed of the hash.

    Returns:
        For each part the positions of its images, int64, ascending.
    """
    names = labels.ids or range(len(labels))
    hashes = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]
    order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)
    return [np.sort(order[part::parts]) for part in range(parts)]
