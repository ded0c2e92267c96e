"""A network that was trained elsewhere, as measures see it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from labelattack.api.own_data import NetworkImages, NetworkInputs
from labelattack.attacks import registry as attacks
from labelattack.attacks.base import Attack
from labelattack.attacks.budget import Attacked
from labelattack.datasets.base import Split, Splits, check_scorable
from labelattack.datasets.images import SomeImages
from labelattack.errors import DatasetError, ModelError, ParameterError
from labelattack.hashing import digest
from labelattack.labels import PartialLabels
from labelattack.measures._d_score.stage import last_map, output_shapes
from labelattack.measures.run import STAGE, TrainedRun
from labelattack.models import registry as models
from labelattack.models.base import Network, Preprocessing
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import Inputs
from labelattack.training.loop import Scores, predict
from labelattack.training.validation import ValidationLabels

_ENOUGH = 20  # numbers that are hardly all from 0 to 1 if they are logits


class Lacking(ParameterError):
    """Something that a measure needs and was not given; the message is the end of a sentence."""


class OwnSplits(Splits):
    """Test images, and such of training and validation images as were given.

    Args:
        given: Splits by name: ``test``, and ``train`` and ``val`` if there are such.
        classes: Name of each label; by default ``0``, ``1`` and so on.

    Raises:
        DatasetError: If labels and classes do not fit, or nothing can be scored.
    """

    def __init__(self, given: Mapping[str, Split], classes: Sequence[str] | None = None) -> None:
        test = given["test"]
        classes = list(classes or map(str, range(test.partial.shape[1])))
        vars(self).update(given, classes=classes)
        for name, split in self.given.items():
            if split.partial.shape[1] != len(classes):
                raise DatasetError(
                    f"{name} labels must have {len(classes)} columns, got {split.partial.shape[1]}"
                )
        check_scorable(test)

    @property
    def given(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        return {n: vars(self)[n] for n in ("train", "val", "test") if n in vars(self)}

    def __getattr__(self, name: str) -> Any:
        if name in ("train", "val"):
            which = {"train": "training", "val": "validation"}[name]
            raise Lacking(f"needs the {which} images with their labels; give {name}=")
        raise AttributeError(name)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the splits that there are, and of the class names."""
        return digest([*(split.fingerprint for split in self.given.values()), *self.classes])


@dataclass(frozen=True, eq=False)
class OwnRun(TrainedRun):
    """A network that was trained elsewhere.

    Attributes:
        given: How pixels become its input; None if images are given as it takes them.
        stage: Name of the module that gives its last map; None if that was not said.
    """

    given: Preprocessing | None = None
    stage: str | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the network's input."""
        if self.given is None:
            raise Lacking("needs pixels; give images in uint8, or a Split, and preprocessing=")
        return self.given

    def inputs(self, split: Split) -> Inputs:
        """Images as the network takes them."""
        if is_of_network(split):
            return NetworkInputs(split.images, self.compute.torch_device)
        return super().inputs(split)

    @cached_property
    def network(self) -> nn.Module:
        """The network, in evaluation mode, on the device."""
        return self.trained.to(self.compute.torch_device).eval()

    @property
    def test_inputs(self) -> Inputs:
        """Test images as the network takes them."""
        return self.inputs(self.splits.test)

    @cached_property
    def scores(self) -> Scores:
        """Logits of the test images, float32 ``[images, labels]``."""
        return self._logits(self.splits.test)

    @cached_property
    def training_scores(self) -> Scores:
        """Logits of the training images, likewise."""
        return self._logits(self.splits.train)

    @cached_property
    def validation_scores(self) -> Scores:
        """Logits of the validation images, likewise."""
        return self._logits(self.splits.val)

    def staged(self) -> tuple[nn.Module, str]:
        """The network, and the name of its last spatial stage."""
        if self.stage is not None:
            return self.network, self.stage
        if isinstance(self.network, Network):
            return self.network, STAGE
        (example,) = self.inputs(self.splits.test).stream([np.arange(1)])
        last = last_map(output_shapes(self.network, example))
        hint = f"; the last one that does is '{last}'" if last else "; none does here"
        raise Lacking(
            "needs the name of the module whose output is the last map [batch, channels, height, "
            f"width] before pooling; give stage={hint}"
        )

    def _logits(self, split: Split) -> Scores:
        try:
            found = predict(self.network, self.inputs(split), alone=True)
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            raise ModelError(
                "network must map a batch of images to a tensor of logits, but raised "
                f"{type(error).__name__}: {error}"
            ) from error
        wanted = split.partial.shape
        if found.shape != wanted:
            raise ModelError(
                f"network must give logits [images, labels] {list(wanted)}, got {list(found.shape)}"
            )
        if not np.isfinite(found).all():
            raise ModelError("network must give finite logits, got others")
        if found.size >= _ENOUGH and found.min() >= 0 and found.max() <= 1:
            warnings.warn(
                "network must give logits, got numbers from 0 to 1 alone; of probabilities mAP is "
                "right, but no measure that has a threshold",
                stacklevel=2,
            )
        return found


def own_run(
    network: nn.Module,
    splits: OwnSplits,
    preprocessing: Preprocessing | str | None,
    *,
    stage: str | None,
    device: str,
    attacked: Callable[[], Attacked],
) -> OwnRun:
    """A network as measures see it.

    Args:
        network: The network.
        splits: Test images, and others if there are any.
        preprocessing: How pixels become its input, or the spec of a model; None if no split has
            pixels.
        stage: Name of the module that gives its last map; None if that was not said.
        device: Name of the device.
        attacked: Gives the attack and the training labels that it left.

    Raises:
        ParameterError: If pixels are given without preprocessing.
    """
    if isinstance(preprocessing, str):
        preprocessing = models.create(preprocessing).preprocessing
    if preprocessing is None and not all(map(is_of_network, splits.given.values())):
        raise ParameterError(
            "preprocessing must say how pixels become the network's input, got none; give "
            "Preprocessing(size, mean, std, flip), or the spec of a model, such as 'resnet50'"
        )
    val = splits.given.get("val")
    chosen = None if val is None else ValidationLabels(val.labels, val.counted, "given labels")
    return OwnRun(
        splits,
        Spec.of("own-network", preprocessing._asdict() if preprocessing else {}),
        "finetune",
        Compute(str(resolve_device(device))),
        trained=network,
        validation_labels=chosen,
        attacked=attacked,
        given=preprocessing,
        stage=stage,
    )


def labels_left(
    splits: OwnSplits, attack: Attack | str | None, attacked: PartialLabels | None, seed: int
) -> Attacked:
    """The attack on the training labels, and what it left of them.

    Args:
        splits: With the training images.
        attack: The attack, or its spec.
        attacked: What it left; None if ``attack`` and ``seed`` say that.
        seed: Seed of the attack.

    Raises:
        ParameterError: If training images or attack are missing, or the labels do not fit.
    """
    before = splits.train.partial
    if attack is None:
        raise Lacking(
            "needs the attack on the training labels; give attack= and seed=, and attacked= if it "
            "left other labels than these say"
        )
    if attacked is not None and (
        not isinstance(attacked, PartialLabels) or attacked.shape != before.shape
    ):
        shape = getattr(attacked, "shape", "")
        raise ParameterError(
            f"attacked must be PartialLabels of the shape of the training labels, {before.shape}, "
            f"got {type(attacked).__name__} {shape}"
        )
    by = attacks.create(attack) if isinstance(attack, str) else attack
    return Attacked(by, by(before, seed=seed) if attacked is None else attacked)


def is_of_network(split: Split) -> bool:
    """Whether images of a split are as a network takes them, and not pixels."""
    images = split.images
    return isinstance(images.images if isinstance(images, SomeImages) else images, NetworkImages)


@contextmanager
def borrowed(network: nn.Module) -> Iterator[None]:
    """Leaves a network in the modes and on the device in which it was."""
    modes = {module: module.training for module in network.modules()}
    first = next(network.parameters(), None)
    place = torch.device("cpu") if first is None else first.device
    try:
        yield
    finally:
        network.to(place)
        for module, training in modes.items():
            module.training = training
