"""Cross-fitting: scores of every image by a network that was trained without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from labelattack.datasets.base import Split
from labelattack.defenses.base import PartialLabelLoss
from labelattack.errors import ParameterError
from labelattack.labels import PartialLabels
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.seeding import permutation, stream_seed
from labelattack.training.compute import ONE_CPU, Compute
from labelattack.training.feature_cache import features
from labelattack.training.inputs import FeatureInputs, ImageInputs, Inputs
from labelattack.training.loop import Scores, predict
from labelattack.training.protocols import registry as protocols
from labelattack.training.protocols.base import Prepared, TrainingProtocol
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import LAST_EPOCH, ValidationLabels

EPOCHS, FOLDS = 10, 5
MakeLoss = Callable[[PartialLabels, NDArray[np.int64]], PartialLabelLoss]
"""A bound loss for the labels of some images and their rows."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Networks of a cross-fit, and their scores.

    Attributes:
        scores: Logits of each image by the network that was trained without it, float32
            ``[images, labels]``.
        folds: Fold of each image, int64 ``[images]``.
        networks: The network, or the linear head, that was trained without each fold.
    """

    scores: Scores
    folds: NDArray[np.int64]
    networks: list[nn.Module]

    def mean_probabilities(self, inputs: Inputs) -> NDArray[np.float32]:
        """Probabilities of other images, averaged over the networks.

        Args:
            inputs: The images, as the networks take them.

        Returns:
            float32 ``[images, labels]``.
        """
        found = [probabilities(predict(each, inputs, alone=True)) for each in self.networks]
        return np.asarray(np.mean(found, axis=0), dtype=np.float32)


def cross_fit(
    split: Split,
    model: Spec,
    make_loss: MakeLoss,
    *,
    protocol: str | None = None,
    recipe: Recipe | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    compute: Compute = ONE_CPU,
) -> CrossFit:
    """Trains for each fold on the images of the others, and scores the fold with what was trained.

    The last epoch is taken: nothing is selected on the images that are scored. Images of a group
    are in one fold.

    Args:
        split: Images with their labels, as far as they are known.
        model: Resolved spec of the model.
        make_loss: Binds a loss to the labels of the images of the other folds.
        protocol: Training protocol; None for [usual_protocol][labelattack.training.cross_fit].
        recipe: Hyper-parameters; None for [usual_recipe][labelattack.training.cross_fit].
        folds: Number of folds, from 2.
        seed: Seed of folds, initialisation and shuffling.
        compute: Where to compute, and who is told.

    Raises:
        ParameterError: If there are fewer images or groups than folds.
        TrainingDivergedError: If a network diverges.
    """
    trainer = protocols.create(protocol or usual_protocol(model))
    of_image = fold_of(len(split), folds, split.groups, seed)
    inputs = inputs_of(split, model, trainer.on_features, compute)
    scores = np.empty(split.partial.shape, dtype=np.float32)
    networks = []

    for fold in range(folds):
        compute.progress("cross-fitting", fold, folds)
        rows, held = np.flatnonzero(of_image != fold), np.flatnonzero(of_image == fold)
        chosen = recipe or usual_recipe(model)
        run = _run(trainer, split.partial, model, (rows, held), make_loss, chosen, seed)
        ready = Prepared(inputs(rows), left_out := inputs(held), left_out)
        (fit,) = trainer.train([run], ready, compute.torch_device)
        if isinstance(fit, Exception):
            raise fit
        run.network.to(compute.torch_device).load_state_dict(fit.state)
        scores[held] = predict(run.network, left_out, alone=True)
        networks.append(run.network)
    compute.progress("cross-fitting", folds, folds)
    return CrossFit(scores, of_image, networks)


def _run(
    trainer: TrainingProtocol,
    labels: PartialLabels,
    model: Spec,
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    make_loss: MakeLoss,
    recipe: Recipe,
    seed: int,
) -> TrainingRun:
    """The run of one fold, given the rows of the other folds and its own."""
    rows, held = parts
    known, unseen = labels.take(rows).named(None, labels.classes), labels.take(held)
    initial = stream_seed(seed, "initialisation")
    return TrainingRun(
        network=trainer.build(models.create(model), labels.shape[1], seed=initial),
        loss=make_loss(known, rows),
        kind="cross-fit",
        labels=known,
        validation=ValidationLabels(unseen.values, unseen.observed, LAST_EPOCH),
        recipe=recipe,
        seed=seed,
    )


def usual_protocol(model: Spec) -> str:
    """``linear`` on a pretrained backbone; ``finetune``, end to end, where there is none."""
    return "linear" if models.create(model).pretrained else "finetune"


def usual_recipe(model: Spec) -> Recipe:
    """Ten epochs with the learning rate and batch size that the protocol of a model has first.

    Of ``linear``, the middle one of its three learning rates.
    """
    built = models.create(model)
    space = protocols.create(usual_protocol(model)).search_space(built)
    return Recipe(
        epochs=EPOCHS,
        lr=space.lrs[len(space.lrs) // 2 if built.pretrained else 0],
        batch_size=space.batch_sizes[-1],
    )


def inputs_of(
    split: Split, model: Spec, on_features: bool, compute: Compute
) -> Callable[[NDArray[np.int64]], Inputs]:
    """Function that gives the inputs of some images, by their rows.

    Args:
        split: The images.
        model: Resolved spec of the model.
        on_features: Whether inputs are pooled features, and not images.
        compute: Where to compute.
    """
    device = compute.torch_device
    if not on_features:
        preprocessing = models.create(model).preprocessing
        return lambda rows: ImageInputs(split.take(rows).images, preprocessing, device)
    pooled = features(split, model, compute=compute)["features"]
    return lambda rows: FeatureInputs(np.ascontiguousarray(pooled[rows]), device)


def probabilities(logits: Scores) -> NDArray[np.float32]:
    """Probabilities of logits, in [0, 1], float32."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), dtype=np.float32)


def fold_of(
    images: int, folds: int, groups: Sequence[str] | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Fold of each image, int64 ``[images]``: random, equal in size, groups kept together.

    Args:
        images: Number of images.
        folds: Number of folds, from 2.
        groups: Group of each image; None if each is its own.
        seed: Seed of the draw.

    Raises:
        ParameterError: If there are fewer images or groups than folds.
    """
    group = np.arange(images)
    if groups is not None:
        _, group = np.unique(np.array(groups), return_inverse=True)
    count = int(group.max(initial=-1)) + 1
    if not 2 <= folds <= count:
        what = "images" if groups is None else "groups"
        raise ParameterError(f"folds must be 2 to {count}, the number of {what}, got {folds}")
    fold = np.empty(count, dtype=np.int64)
    fold[permutation(count, seed, "folds")] = np.arange(count) % folds
    return np.asarray(fold[group])
