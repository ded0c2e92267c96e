"""End-to-end training of the whole network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from labelattack.datasets.base import Splits
from labelattack.datasets.verification import verify
from labelattack.models import registry as models
from labelattack.models.base import Model
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.inputs import ImageInputs
from labelattack.training.protocols import register
from labelattack.training.protocols.base import Prepared, TrainingProtocol
from labelattack.training.recipe import SearchSpace


@register("finetune")
@dataclass(frozen=True, kw_only=True)
class Finetune(TrainingProtocol):
    """Trains the whole network end to end, as the paper does."""

    source: ClassVar[str] = "Zhang et al., Revising the Problem of Partial Labels"
    references: ClassVar[str] = "zhang2024"
    uses_micro_batches: ClassVar[bool] = True
    data_parallel: ClassVar[bool] = True

    def search_space(self, model: Model) -> SearchSpace:
        """Learning rates and batch sizes of the model."""
        return SearchSpace(lrs=model.learning_rates, batch_sizes=model.batch_sizes)

    def prepare(self, splits: Splits, model: Spec, compute: Compute) -> Prepared:
        """Images, all of which are decoded once: training might reach a damaged one late."""
        preprocessing = models.create(model).preprocessing
        verify(splits, one_size=preprocessing.size is None, progress=compute.progress)
        train, val, test = (
            ImageInputs(split.images, preprocessing, compute.torch_device)
            for split in (splits.train, splits.val, splits.test)
        )
        return Prepared(train, val, test)

    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """The whole network."""
        return model.build(labels, seed=seed)

    def whole(self, model: Model, trained: nn.Module) -> nn.Module:
        """The trained network itself."""
        return trained

    def boosted(self, scale: float) -> Spec:
        """``finetune-boosted``."""
        return Spec.of("finetune-boosted", {"scale": scale})

    @classmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether there is a head within a network."""
        return any(f".{name}".endswith(".head.weight") for name in state)
