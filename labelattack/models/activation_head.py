"""Linear heads that are applied at every location, with positive class activations multiplied."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from labelattack.models.base import pool


class ActivationHead(nn.Module):
    """A linear head at every location of a map; its class activations are averaged into logits.

    Positive activations are multiplied by a factor before. With factor 1 the logits are those of
    the head on the pooled map.

    Args:
        head: Channels to labels; its parameters become those of this module.
        scale: Factor of positive activations.

    Attributes:
        weight: float ``[labels, channels]``.
        bias: float ``[labels]``.
        scale: The factor, a buffer of shape ``[]``, so that weights tell it.
    """

    scale: Tensor

    def __init__(self, head: nn.Linear, scale: float) -> None:
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, maps: Tensor) -> Tensor:
        """Logits ``[batch, labels]`` of maps ``[batch, channels, height, width]``."""
        activations = conv2d(maps, self.weight[:, :, None, None], self.bias)
        return pool(torch.where(activations > 0, self.scale * activations, activations))


class ActivationNetwork(nn.Module):
    """Backbone, and a head at every location of its map.

    It is no [Network][labelattack.models.base.Network]: its logits are not linear in the map.

    Attributes:
        backbone: float ``[batch, 3, height, width]`` to ``[batch, channels, h, w]``; its output is
            the last spatial stage.
        activation_head: The head.
    """

    def __init__(self, backbone: nn.Module, head: ActivationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.activation_head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, labels]``."""
        logits: Tensor = self.activation_head(self.backbone(images))
        return logits
