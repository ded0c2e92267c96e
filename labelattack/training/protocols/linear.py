"""Linear evaluation: a head on the features of the frozen backbone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from labelattack.datasets.base import Splits
from labelattack.models.base import Model, Network, PooledNetwork
from labelattack.models.weights import without_prefixes
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.feature_cache import PooledReadout, Readout, features
from labelattack.training.inputs import FeatureInputs, Inputs
from labelattack.training.isolation import attempt
from labelattack.training.loop import Fit
from labelattack.training.protocols import register
from labelattack.training.protocols.base import Prepared, TrainingProtocol
from labelattack.training.recipe import Recipe, SearchSpace
from labelattack.training.training_run import TrainingRun
from labelattack.training.vectorized.heads import fit_heads, heads_at_once


@register("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(TrainingProtocol):
    """Trains a linear head on the pooled features of the frozen backbone.

    Attributes:
        readout: The one array that is kept of the backbone's output.
    """

    source: ClassVar[str] = "Cole et al. 2021"
    references: ClassVar[str] = "cole2021"
    reads_images: ClassVar[bool] = False
    on_features: ClassVar[bool] = True
    readout: ClassVar[Readout] = PooledReadout()

    def search_space(self, model: Model) -> SearchSpace:
        """Three learning rates and one batch size, whatever the model."""
        return SearchSpace(lrs=(3e-3, 1e-3, 3e-4), batch_sizes=(16,))

    def part_search_space(self, model: Model) -> SearchSpace:
        """A larger rate, as a part of the images gives few steps.

        On VOC 2007's validation images and 10 to 250 parts, 0.003 learns too little in the smaller
        parts, and at 0.03 some losses break (docs/certified.md).
        """
        return SearchSpace(lrs=(1e-2,), batch_sizes=(16,))

    def prepare(self, splits: Splits, model: Spec, compute: Compute) -> Prepared:
        """Features of every image, from the cache or computed."""
        device = compute.torch_device

        def inputs(split: str) -> Inputs:
            part = splits.parts[split]
            (found,) = features(part, model, readout=self.readout, compute=compute).values()
            return FeatureInputs(found, device, resident=self.on_features)

        return Prepared(inputs("train"), inputs("val"), inputs("test"))

    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """The head."""
        return model.head(labels, seed=seed)

    def whole(self, model: Model, trained: nn.Module) -> nn.Module:
        """The head on the frozen backbone."""
        if isinstance(trained, nn.Linear):
            return Network(model.frozen(), trained)
        return PooledNetwork(model.frozen(), trained)

    def boosted(self, scale: float) -> Spec:
        """``linear-boosted``."""
        return Spec.of("linear-boosted", {"scale": scale})

    @classmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether there is one layer and nothing else."""
        return {without_prefixes(name) for name in state} == {"weight", "bias"}

    def group_key(self, recipe: Recipe) -> Hashable:
        """Heads of a group take the same steps, each on a batch of its own."""
        return recipe.batch_size, recipe.epochs

    def runs_at_once(
        self, images: int, labels: int, channels: int, *, device: torch.device, processes: int
    ) -> int:
        """As many heads as stay in half of the cache between two steps."""
        return heads_at_once(images, labels, channels, device=device, processes=processes)

    def train(
        self, runs: Sequence[TrainingRun], prepared: Prepared, device: torch.device
    ) -> list[Fit | Exception]:
        """Trains all heads side by side, on inputs that are on the device already."""
        train, val = _features(prepared.train), _features(prepared.val)
        fits = attempt(fit_heads, runs, train, val)
        return [fits] * len(runs) if isinstance(fits, Exception) else fits


def _features(inputs: Inputs) -> FeatureInputs:
    return cast(FeatureInputs, inputs)  # as ``prepare`` made them
