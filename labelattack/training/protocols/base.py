"""What is trained: the whole network, or a linear head on frozen features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from labelattack.datasets.base import Progress, Splits
from labelattack.datasets.verification import verify
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.training.feature_cache import features
from labelattack.training.inputs import FeatureInputs, ImageInputs, Inputs
from labelattack.training.recipe import Protocol, check_protocol


@dataclass(frozen=True)
class Prepared:
    """A dataset and a model, ready to train under a protocol.

    Attributes:
        train: Training inputs.
        val: Validation inputs.
        test: Test inputs.
        build: Builds what is trained, from a seed.
    """

    train: Inputs
    val: Inputs
    test: Inputs
    build: Callable[[int], nn.Module]


def prepare(
    protocol: Protocol,
    splits: Splits,
    model: Spec,
    *,
    device: torch.device,
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> Prepared:
    """Makes inputs and a network builder for a protocol.

    Args:
        protocol: ``finetune`` trains end to end, as the paper; ``linear`` a head on the pooled
            features of the frozen backbone.
        splits: The dataset.
        model: Resolved spec of the model.
        device: Where to compute.
        jobs: Processes for feature extraction.
        plugins: Plug-in files that those must load.
        progress: Told of decoding, or of feature extraction.

    Returns:
        What training needs.

    Raises:
        DatasetError: If an image of any split cannot be read.
        ModelError: If the model cannot be built.
    """
    check_protocol(protocol)
    built = models.create(model)
    labels = len(splits.classes)
    parts = (splits.train, splits.val, splits.test)
    if protocol == "linear":
        found = (
            features(part, model, device=str(device), jobs=jobs, plugins=plugins, progress=progress)
            for part in parts
        )
        heads = [FeatureInputs(f["features"], device) for f in found]
        return Prepared(heads[0], heads[1], heads[2], lambda seed: built.head(labels, seed=seed))
    # Features are read of every image before a head trains; here an epoch might pass first.
    verify(splits, one_size=built.preprocessing.size is None, progress=progress)
    train, val, test = (ImageInputs(p.images, built.preprocessing, device) for p in parts)
    return Prepared(train, val, test, lambda seed: built.build(labels, seed=seed))
