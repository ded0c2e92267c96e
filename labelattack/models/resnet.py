"""Residual networks from torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field
from torch import nn

from labelattack.errors import ModelError
from labelattack.files.storage import path_unless
from labelattack.models import register
from labelattack.models.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Model,
    Preprocessing,
)
from labelattack.models.weights import damage, load_weights

_PUBLISHED = {"imagenet-v1": "IMAGENET1K_V1", "imagenet-v2": "IMAGENET1K_V2"}


def _in_full(weights: Any) -> Any:
    return "imagenet-v1" if weights == "imagenet" else weights


def _first_version(weights: str) -> str:
    if weights == "imagenet-v2":
        raise ValueError(
            f"must be imagenet-v1, none or a path, as torchvision has no other, got '{weights}'"
        )
    return weights


Weights = Annotated[str, BeforeValidator(_in_full), path_unless(*_PUBLISHED)]


@dataclass(frozen=True, kw_only=True)
class _ResNet(Model):
    """Base class of both depths.

    Args:
        weights: ``imagenet-v1`` (also ``imagenet``) and ``imagenet-v2`` download torchvision's
            IMAGENET1K_V1 and IMAGENET1K_V2, ``none`` starts at random, anything else is the path of
            a state dict.
        size: Side to which images are squashed.
    """

    source: ClassVar[str] = "He et al. 2016, torchvision"
    references: ClassVar[str] = "he2016"
    always_shown: ClassVar[str] = "weights"

    weights: Weights | None = "imagenet-v1"
    size: Annotated[int, Field(ge=32)] = 448

    def _build(self, constructor: Callable[..., Any], published: Any) -> nn.Module:
        network: nn.Module = constructor(weights=None)
        if self.weights in _PUBLISHED:
            try:
                # By default torchvision unpickles the downloaded file.
                state = published[_PUBLISHED[self.weights]].get_state_dict(
                    check_hash=True, weights_only=True
                )
                network.load_state_dict(state)
            except Exception as error:
                unread = isinstance(error, UnpicklingError)
                reason = damage(error) if unread else f"{type(error).__name__}: {error}"
                raise ModelError(
                    f"ImageNet weights cannot be had: {reason}; give weights=PATH of a state "
                    "dict, or weights=none"
                ) from (None if unread else error)
        elif self.weights is not None:
            load_weights(network, self.weights, ignore=("fc.",))
        return nn.Sequential(*list(network.children())[:-2])  # without pooling and classifier

    @property
    def preprocessing(self) -> Preprocessing:
        """ImageNet statistics."""
        return Preprocessing(self.size, IMAGENET_MEAN, IMAGENET_STD, flip=True)


@register("resnet18")
@dataclass(frozen=True, kw_only=True)
class ResNet18(_ResNet):
    """ResNet-18.

    Args:
        weights: ``imagenet-v1`` (also ``imagenet``) downloads torchvision's IMAGENET1K_V1, the only
            ones there are, ``none`` starts at random, anything else is the path of a state dict.
    """

    channels: ClassVar[int] = 512

    weights: Annotated[Weights, AfterValidator(_first_version)] | None = "imagenet-v1"

    def backbone(self) -> nn.Module:
        """All layers up to the last residual stage."""
        from torchvision.models import ResNet18_Weights, resnet18

        return self._build(resnet18, ResNet18_Weights)


@register("resnet50")
@dataclass(frozen=True, kw_only=True)
class ResNet50(_ResNet):
    """ResNet-50, the paper's backbone."""

    channels: ClassVar[int] = 2048

    def backbone(self) -> nn.Module:
        """All layers up to the last residual stage."""
        from torchvision.models import ResNet50_Weights, resnet50

        return self._build(resnet50, ResNet50_Weights)
