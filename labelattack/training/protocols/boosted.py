"""Training with positive class activations multiplied, as a loss asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from labelattack.models.activation_head import ActivationHead, ActivationNetwork
from labelattack.models.base import Model
from labelattack.models.weights import without_prefixes
from labelattack.training.feature_cache import MapReadout, Readout
from labelattack.training.protocols import register
from labelattack.training.protocols.base import TrainingProtocol
from labelattack.training.protocols.finetune import Finetune
from labelattack.training.protocols.linear import Linear

Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@register("linear-boosted")
@dataclass(frozen=True, kw_only=True)
class LinearBoosted(Linear):
    """As linear, with scaled class activations; chosen by a loss alone.

    Trains an [ActivationHead][labelattack.models.activation_head.ActivationHead] on the maps of the
    frozen backbone, each run alone. Maps are height x width times as large as pooled features: for
    VOC 2007 and EfficientNet-Lite0, 1.3 GB in the cache folder for 5,000 images. They are read from
    there batch by batch, also for a GPU, so that memory holds a batch of them.

    Args:
        scale: Factor of positive class activations.
    """

    source: ClassVar[str] = "Kim et al. 2023 (BoostLU)"
    references: ClassVar[str] = "kim2023"
    on_features: ClassVar[bool] = False
    readout: ClassVar[Readout] = MapReadout()
    board_name: ClassVar[str] = "linear"

    scale: Scale = 5.0

    group_key = TrainingProtocol.group_key
    runs_at_once = TrainingProtocol.runs_at_once
    train = TrainingProtocol.train

    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """The head, with the initial weights that ``linear`` gives it."""
        return ActivationHead(model.head(labels, seed=seed), self.scale)

    def whole(self, model: Model, trained: nn.Module) -> nn.Module:
        """The head on the frozen backbone."""
        assert isinstance(trained, ActivationHead)  # as ``build`` made it
        return ActivationNetwork(model.frozen(), trained)

    @classmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether there is one head, with its factor, and nothing else."""
        return {without_prefixes(name) for name in state} == {"weight", "bias", "scale"}


@register("finetune-boosted")
@dataclass(frozen=True, kw_only=True)
class FinetuneBoosted(Finetune):
    """As finetune, with scaled class activations; chosen by a loss alone.

    Args:
        scale: Factor of positive class activations.
    """

    source: ClassVar[str] = "Kim et al. 2023 (BoostLU)"
    references: ClassVar[str] = "kim2023"
    board_name: ClassVar[str] = "finetune"

    scale: Scale = 5.0

    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """The whole network, with the initial weights that ``finetune`` gives it."""
        network = model.build(labels, seed=seed)
        return ActivationNetwork(network.backbone, ActivationHead(network.head, self.scale))

    @classmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether there is a head with its factor within a network."""
        return any(f".{name}".endswith(".activation_head.scale") for name in state)
