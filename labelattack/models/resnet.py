"""Residual networks from torchvision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field
from torch import nn

from labelattack.files.storage import path_unless
from labelattack.models import register
from labelattack.models.base import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from labelattack.models.library import LibraryModel
from labelattack.models.torchvision import load_file, load_published, up_to_map

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
class _ResNet(LibraryModel):
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

    @property
    @abstractmethod
    def _library(self) -> tuple[Callable[..., nn.Module], Any]:
        """Torchvision's constructor, and its enumeration of published weights."""

    def classifier(self, labels: int) -> nn.Module:
        """Builds the classifier as torchvision does."""
        return self._library[0](weights=None, **{"num_classes": labels} if labels else {})

    def load(self, classifier: nn.Module) -> None:
        """Loads published weights, or those of a file."""
        if self.weights in _PUBLISHED:
            load_published(
                classifier, self._library[1][_PUBLISHED[self.weights]], "ImageNet weights"
            )
        elif self.weights is not None:
            load_file(classifier, self.weights)

    def to_map(self, classifier: nn.Module) -> nn.Module:
        """All layers up to the last residual stage."""
        return up_to_map(classifier)

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

    @property
    def _library(self) -> tuple[Callable[..., nn.Module], Any]:
        from torchvision.models import ResNet18_Weights, resnet18

        return resnet18, ResNet18_Weights


@register("resnet50")
@dataclass(frozen=True, kw_only=True)
class ResNet50(_ResNet):
    """ResNet-50, the paper's backbone."""

    channels: ClassVar[int] = 2048

    @property
    def _library(self) -> tuple[Callable[..., nn.Module], Any]:
        from torchvision.models import ResNet50_Weights, resnet50

        return resnet50, ResNet50_Weights
