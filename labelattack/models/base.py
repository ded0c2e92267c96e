"""Models: a convolutional backbone, global average pooling and a linear head."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, final

import torch
from pydantic import Field, JsonValue
from torch import Tensor, nn

from labelattack.models.weights import load_weights as load_weights
from labelattack.models.weights import read_weights as read_weights


class Preprocessing(NamedTuple):
    """Preprocessing of pixels into the backbone's input.

    Attributes:
        size: Side in pixels to which images are resized, without keeping the aspect ratio; None
            leaves them as they are.
        mean: Mean of each channel, for pixels scaled to [0, 1].
        std: Standard deviation of each channel, for pixels scaled to [0, 1].
        flip: Whether training images are flipped horizontally at random.
    """

    size: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool

    def as_json(self) -> dict[str, JsonValue]:
        """The fields as JSON has them."""
        return self._asdict() | {"mean": list(self.mean), "std": list(self.std)}


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PooledNetwork(nn.Module):
    """Backbone, global average pooling, and a head of any kind.

    Attributes:
        backbone: float ``[batch, 3, height, width]`` to ``[batch, channels, h, w]``; its output is
            the last spatial stage.
        head: float ``[batch, channels]`` to logits ``[batch, labels]``.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, labels]``."""
        logits: Tensor = self.head(pool(self.backbone(images)))
        return logits


class Network(PooledNetwork):
    """Backbone, global average pooling, and a linear head.

    Attributes:
        head: float ``[batch, channels]`` to logits ``[batch, labels]``.
    """

    head: nn.Linear

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__(backbone, head)


def pool(features: Tensor) -> Tensor:
    """Global average pooling, ``[batch, channels, h, w]`` to ``[batch, channels]``."""
    return features.mean(dim=(2, 3))


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """An architecture that builds networks; fields are its parameters.

    Args:
        prior: Assumed share of positives; the head's bias starts at its log-odds, for every
            defense alike. Not read from any label. none leaves the framework's default bias.

    Attributes:
        version: Raise it whenever the built network changes.
        source: Publication of the architecture and origin of the weights.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        libraries: Distributions beside those that every record names, on whose versions the built
            network depends; records name them too.
        learning_rates: Learning rates searched by default when the whole network is trained.
        batch_sizes: Batch sizes searched by default when the whole network is trained.
        always_shown: Parameters that boards name even at their defaults, separated by spaces.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    libraries: ClassVar[tuple[str, ...]] = ()
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 1e-4, 1e-5, 1e-6)
    batch_sizes: ClassVar[tuple[int, ...]] = (8, 16)
    always_shown: ClassVar[str] = ""

    prior: Annotated[float, Field(gt=0, lt=1)] | None = 0.07

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the backbone's output; in a subclass, a number or a property."""

    @abstractmethod
    def backbone(self) -> nn.Module:
        """Builds the backbone, with its weights.

        Raises:
            ModelError: If the weights are not available.
        """

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """Preprocessing that the backbone expects."""

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights: by default, if ``weights`` names some."""
        return getattr(self, "weights", None) is not None

    @final
    def head(self, labels: int, *, seed: int) -> nn.Linear:
        """Builds a head with seeded initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(self.channels, labels)
        if self.prior is not None:
            nn.init.constant_(head.bias, math.log(self.prior / (1 - self.prior)))
        return head

    @final
    def frozen(self) -> nn.Module:
        """Builds the backbone for feature extraction; every call gives the same weights."""
        return self._seeded_backbone(0).eval().requires_grad_(False)

    @final
    def build(self, labels: int, *, seed: int) -> Network:
        """Builds the whole network with seeded initial weights."""
        return Network(self._seeded_backbone(seed), self.head(labels, seed=seed))

    def _seeded_backbone(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.backbone()


def weights_digest(network: nn.Module) -> str:
    """Hash of all parameters and buffers of a network."""
    parts = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        parts.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return parts.hexdigest()[:16]
