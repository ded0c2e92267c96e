"""Knowledge of an attacker: a surrogate trained on clean labels, features, annotated objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from labelattack.attacks.knowledge import HeldOut, Knowledge, Need
from labelattack.datasets.base import Split, Splits
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.hashing import digest
from labelattack.labels import PartialLabels
from labelattack.labels.objects import covered_share
from labelattack.models import registry as models
from labelattack.models.base import Network
from labelattack.process_cache import ProcessCache
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.cross_fit import CrossFit, cross_fit, inputs_of, probabilities
from labelattack.training.feature_cache import features
from labelattack.training.loop import predict

SURROGATE_LOSS = "bce"
_FITS: ProcessCache[CrossFit] = ProcessCache(2)


def knowledge_of(splits: Splits, part: str, model: Spec, compute: Compute) -> Knowledge:
    """Knowledge of an attacker about the images of a split; each kind is computed when it is read.

    Scores are probabilities of a surrogate that is trained on the *clean* labels of the training
    split: a linear head on a pretrained backbone, a whole network where the model has none.
    Training images are scored by networks that were trained without them, images of other splits
    by the mean of these networks.

    Args:
        splits: The dataset, before any attack.
        part: Split under attack, ``train`` or ``val``.
        model: Resolved spec of the model.
        compute: Where to compute.
    """
    split, train = splits.parts[part], splits.train
    others = splits.val if part == "train" else splits.train

    def features_of(images: Split) -> NDArray[np.float32]:
        return surrogate_features(images, train, model, compute)

    sources: dict[Need, Callable[[], Any]] = {
        "scores": partial(surrogate_scores, split, train, model, compute),
        "features": partial(features_of, split),
        "held_out": lambda: HeldOut(features_of(others), others.partial),
    }
    return Knowledge(sources | _annotations(split, len(splits.classes)))


def knowledge_of_images(split: Split, model: Spec, compute: Compute) -> Knowledge:
    """Knowledge about images that are attacked on their own, without a dataset around them."""
    sources: dict[Need, Callable[[], Any]] = {
        "scores": partial(surrogate_scores, split, split, model, compute),
        "features": partial(surrogate_features, split, split, model, compute),
    }
    return Knowledge(sources | _annotations(split, split.partial.shape[1]))


def surrogate_scores(
    split: Split, train: Split, model: Spec, compute: Compute
) -> NDArray[np.float32]:
    """Probabilities of a surrogate that is trained on clean labels, float32 ``[images, labels]``.

    Args:
        split: Images to score.
        train: Images that the surrogate is trained on, the same or others.
        model: Resolved spec of the model.
        compute: Where to compute.
    """
    fit = _surrogate(train, model, compute)
    if split is train:
        return probabilities(fit.scores)
    on_features = models.create(model).pretrained
    inputs = inputs_of(split, model, on_features, compute)
    return fit.mean_probabilities(inputs(np.arange(len(split))))


def surrogate_features(
    split: Split, train: Split, model: Spec, compute: Compute
) -> NDArray[np.float32]:
    """Pooled features, float32 ``[images, channels]``.

    Args:
        split: The images.
        train: Images that a backbone is trained on where the model has no pretrained one: the first
            network of the cross-fit gives features of all images then.
        model: Resolved spec of the model.
        compute: Where to compute.
    """
    if models.create(model).pretrained:
        return features(split, model, compute=compute)["features"]
    network = cast(Network, _surrogate(train, model, compute).networks[0])
    pooling = nn.Sequential(network.backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = inputs_of(split, model, False, compute)(np.arange(len(split)))
    return predict(pooling, images, alone=True)


def _surrogate(train: Split, model: Spec, compute: Compute) -> CrossFit:
    key = digest({"split": train.fingerprint, "model": str(model), "device": compute.device})
    return _FITS.get(key, lambda: cross_fit(train, model, _on_known_labels, compute=compute))


def _on_known_labels(labels: PartialLabels, rows: NDArray[np.int64]) -> PartialLabelLoss:
    """Binary cross-entropy on what is known of clean labels."""
    del rows
    loss = defenses.create(SURROGATE_LOSS)
    loss.bind(Task(labels=labels))
    return loss


def _annotations(split: Split, labels: int) -> dict[Need, Callable[[], Any]]:
    """Kinds of knowledge that a split has by itself."""
    found: dict[Need, Callable[[], Any]] = {}
    if split.objects is not None:
        objects = split.objects
        found["boxes"] = lambda: objects
        found["areas"] = lambda: covered_share(objects, len(split), labels)
    if (groups := split.groups) is not None:
        found["groups"] = lambda: tuple(groups)
    return found
