"""Access of a measure to a dataset, a model, and one trained network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from labelattack.attacks.budget import Attacked
from labelattack.datasets.base import Split, Splits
from labelattack.labels import BoolArray
from labelattack.models import registry as models
from labelattack.models.base import Model, Preprocessing
from labelattack.models.median_ensemble import MedianEnsemble, MemberScores
from labelattack.process_cache import ProcessCache
from labelattack.registry.spec import Spec
from labelattack.seeding import permutation
from labelattack.training.compute import Compute
from labelattack.training.inputs import ImageInputs, Inputs
from labelattack.training.loop import Scores, predict
from labelattack.training.protocols import registry as protocols
from labelattack.training.protocols.base import Prepared, TrainingProtocol
from labelattack.training.validation import ValidationLabels

STAGE = "backbone"  # of the networks of registered models
_SUBSETS: ProcessCache[Split] = ProcessCache(2)


@dataclass(frozen=True, eq=False)
class Setup:
    """Dataset, model and protocol of a run, before anything is trained.

    Attributes:
        splits: The dataset.
        spec: Resolved spec of the model.
        protocol: Training protocol.
        compute: Means of computing.
    """

    splits: Splits
    spec: Spec
    protocol: str
    compute: Compute = field(default_factory=Compute)

    @cached_property
    def model(self) -> Model:
        """The model, not trained."""
        return models.create(self.spec)

    @cached_property
    def training(self) -> TrainingProtocol:
        """The training protocol."""
        return protocols.create(self.protocol)

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of pixels into the network's input."""
        return self.model.preprocessing

    def inputs(self, split: Split) -> Inputs:
        """Images of a split as the whole network takes them."""
        return ImageInputs(split.images, self.preprocessing, self.compute.torch_device)

    def staged(self) -> tuple[nn.Module, str]:
        """A network with the last spatial stage of what is trained, and that stage's name."""
        backbone = self.model.frozen().to(self.compute.torch_device)
        return nn.Sequential(OrderedDict(backbone=backbone)), STAGE

    def subset(self, images: int, seed: int) -> Split:
        """Test images on which more than mAP is measured: the same for every run.

        Args:
            images: How many; all if there are fewer.
            seed: Seed of the draw.
        """
        test = self.splits.test
        return _SUBSETS.get(
            (self.splits.fingerprint, images, seed),
            lambda: test.take(choose_images(test.labels, images, seed=seed)),
        )


@dataclass(frozen=True, eq=False)
class TrainedRun(Setup):
    """One trained network: all that a measure may see.

    Attributes:
        trained: What the protocol trained: the whole network, or a linear head.
        prepare: Gives the inputs of the images as ``trained`` takes them.
        validation_labels: Validation labels that selection may see; None if they are unknown, as of
            a file of weights.
        test_scores: Logits of the test images, if they are known already.
        attacked: Gives the attack and the training labels that it left; None if they are unknown,
            as of a file of weights.
    """

    trained: nn.Module = field(kw_only=True)
    prepare: Callable[[], Prepared] | None = None
    validation_labels: ValidationLabels | None = None
    test_scores: Scores | None = None
    attacked: Callable[[], Attacked] | None = None

    @cached_property
    def scores(self) -> Scores:
        """Logits of the test images, float32 ``[images, labels]``."""
        if self.test_scores is not None:
            return self.test_scores
        return predict(self.trained, self.test_inputs, alone=True)

    @cached_property
    def training_scores(self) -> Scores:
        """Logits of the training images, without augmentation, float32 ``[images, labels]``."""
        return predict(self.trained, self._inputs.train, alone=True)

    @cached_property
    def validation_scores(self) -> Scores:
        """Logits of the validation images, float32 ``[images, labels]``."""
        return predict(self.trained, self._inputs.val, alone=True)

    @cached_property
    def network(self) -> nn.Module:
        """The whole network, in evaluation mode, on the device."""
        whole = self.training.whole(self.model, self.trained)
        return whole.to(self.compute.torch_device).eval()

    def staged(self) -> tuple[nn.Module, str]:
        """The network, and the name of its last spatial stage."""
        return self.network, STAGE

    @property
    def test_inputs(self) -> Inputs:
        """Test images as ``trained`` takes them."""
        return self._inputs.test

    @cached_property
    def member_scores(self) -> NDArray[np.float32] | None:
        """Scores of the networks of a median ensemble on the test images.

        float32 ``[images, members, labels]``; None if one network was trained on all images.
        """
        if not isinstance(self.trained, MedianEnsemble):
            return None
        scores = predict(MemberScores(self.trained), self.test_inputs, alone=True)
        return scores.reshape(len(scores), len(self.trained.members), -1)

    @property
    def head(self) -> nn.Linear | None:
        """The linear head, where only that was trained: a measure may use cached features."""
        linear = self.training.on_features and isinstance(self.trained, nn.Linear)
        return cast(nn.Linear, self.trained) if linear else None

    @property
    def _inputs(self) -> Prepared:
        if self.prepare is None:
            raise NotImplementedError("a run without inputs has no scores")
        return self.prepare()


def choose_images(labels: BoolArray, count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draws images so that every label is among them as often as the rarest allows.

    Labels take turns, each drawing one image that has it, until there are enough.

    Args:
        labels: bool ``[images, labels]``.
        count: How many; all if there are fewer.
        seed: Seed of the draw.

    Returns:
        Rows, ascending.
    """
    images = len(labels)
    if count >= images:
        return np.arange(images)
    order = permutation(images, seed, "diagnosis")
    turns = [iter(order[labels[order, column]]) for column in range(labels.shape[1])]
    chosen: set[int] = set()
    while turns and len(chosen) < count:
        for turn in list(turns):
            row = next((int(r) for r in turn if int(r) not in chosen), None)
            if row is None:
                turns.remove(turn)
            elif len(chosen) < count:
                chosen.add(row)
    rest = (int(row) for row in order if int(row) not in chosen)
    chosen.update(row for row, _ in zip(rest, range(count - len(chosen)), strict=False))
    return np.array(sorted(chosen), dtype=np.int64)
