"""Classifiers of torchvision: convolutional networks, and ViT, Swin and MaxViT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import AfterValidator, Field, ValidationInfo
from torch import Tensor, nn

from labelattack.files.storage import absolute
from labelattack.models import register
from labelattack.models.base import Preprocessing
from labelattack.models.library import (
    LibraryModel,
    as_map,
    check_layout,
    nearest,
    unavailable,
)
from labelattack.models.weights import fit, load_weights

_AFTER = ("avgpool", "dropout", "classifier", "fc", "head", "heads")  # children after the last map
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # classifiers that only training uses
# Their published weights take pixels in [-1, 1]: torchvision undoes its own statistics inside.
_OTHER_STATISTICS = ("googlenet", "inception_v3")
_SIZE_ARGUMENT = {"vit_": "image_size", "maxvit_": "input_size"}


def _known(name: str) -> str:
    """The name of a classifier."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"must be a classifier of torchvision, {nearest(name, known)}")
    return name


def _published(name: str) -> dict[str, Any]:
    """Published weights of a classifier, by name."""
    from torchvision.models import get_model_weights

    return {member.name: member for member in get_model_weights(name)}


def _default(name: str) -> str:
    """Name of a classifier's published weights that torchvision holds to be the best."""
    from torchvision.models import get_model_weights

    return str(get_model_weights(name).DEFAULT.name)


def _named(weights: str | None, info: ValidationInfo) -> str | None:
    """The name of published weights, or an absolute path."""
    if weights is None or "name" not in info.data:
        return weights
    published = _published(info.data["name"])
    if weights.upper() in published:
        return weights.upper()
    if weights != "default" and not re.search(r"[./\\]", weights):
        raise ValueError(
            f"must be {', '.join(published)}, default, none or a path, got '{weights}'"
        )
    return _default(info.data["name"]) if weights == "default" else absolute(weights)


def _native(size: int | None, info: ValidationInfo) -> int | None:
    """The size, by default that of the published weights."""
    if size is not None or not {"name", "weights"} <= info.data.keys():
        return size
    return _preset(info.data["name"], info.data["weights"]).size


Size = Annotated[
    Annotated[int, Field(ge=32)] | None, AfterValidator(_native), Field(validate_default=True)
]


def _preset(name: str, weights: str | None) -> Preprocessing:
    """Preprocessing of published weights; of others that of the default ones, which is ImageNet's.

    Args:
        name: Name of the classifier.
        weights: Name of published weights, a path, or None.
    """
    published = _published(name)
    preset = published[weights if weights in published else _default(name)].transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    if name in _OTHER_STATISTICS and weights in published:
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return Preprocessing(preset.crop_size[0], mean, std, flip=True)


class _PatchTokens(nn.Module):
    """A vision transformer's normalised patch tokens as a map."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.patches, self.encoder = network.conv_proj, network.encoder
        self.class_token = network.class_token

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(images), -1, -1)
        return as_map(self.encoder(torch.cat([first, tokens], 1)), prefix=1)


def up_to_map(classifier: nn.Module) -> nn.Module:
    """The part of a classifier of torchvision that maps images to its last map."""
    from torchvision.models import DenseNet, VisionTransformer

    if isinstance(classifier, VisionTransformer):
        return _PatchTokens(classifier)
    stages: list[nn.Module] = []
    for name, child in classifier.named_children():
        if name in _AFTER:
            break
        stages += child if isinstance(child, nn.ModuleList) else [child]
    if isinstance(classifier, DenseNet):
        stages.append(nn.ReLU())
    return nn.Sequential(*stages)


def load_published(classifier: nn.Module, weights: Any, what: str) -> None:
    """Loads published weights into all of a classifier but its head.

    Args:
        classifier: The classifier.
        weights: A member of an enumeration of torchvision's weights.
        what: Which weights, for messages.

    Raises:
        ModelError: If they cannot be had.
    """
    try:
        # By default torchvision unpickles the downloaded file.
        state = weights.get_state_dict(check_hash=True, weights_only=True)
        fit(classifier, state, what, ignore=_ignored(classifier))
    except Exception as error:
        raise unavailable(what, error) from error


def load_file(classifier: nn.Module, path: str) -> None:
    """Loads a state dict into all of a classifier but its head.

    Raises:
        ModelError: If it cannot be read, or does not fit.
    """
    load_weights(classifier, path, ignore=_ignored(classifier))


def _ignored(classifier: nn.Module) -> tuple[str, ...]:
    names = [name for name, _ in classifier.named_children()]
    first = next((i for i, name in enumerate(names) if name in _AFTER), len(names))
    return (*(f"{name}." for name in names[first:]), *_AUXILIARY)


@register("torchvision")
@dataclass(frozen=True, kw_only=True)
class Torchvision(LibraryModel):
    """A classifier of torchvision, by its name there.

    The map is the output of the last stage; patch tokens are laid out as a map, and the class token
    is dropped.

    Args:
        name: As in ``torchvision.models.list_models(module=torchvision.models)``.
        weights: Name of weights that torchvision publishes, such as ``IMAGENET1K_V1``; ``default``
            takes the best, ``none`` starts at random, anything else is the path of a state dict.
        size: Side to which images are squashed; by default that of the published weights.
    """

    source: ClassVar[str] = "TorchVision 2016, maintainers and contributors"
    references: ClassVar[str] = "torchvision2016"
    always_shown: ClassVar[str] = "weights"

    name: Annotated[str, AfterValidator(_known)]
    weights: Annotated[str | None, AfterValidator(_named), Field(validate_default=True)] = "default"
    size: Size = None

    def __post_init__(self) -> None:
        native = _preset(self.name, self._weights).size or 0
        check_layout(self, f"classifier '{self.name}' of torchvision", native)

    def classifier(self, labels: int) -> nn.Module:
        """Builds the classifier as torchvision does, without auxiliary ones."""
        from torchvision.models import get_model

        settings: dict[str, Any] = {"num_classes": labels or 1}
        if self.name in _OTHER_STATISTICS:
            settings |= {"aux_logits": False, "init_weights": True}
        side = self.preprocessing.size
        if side != _preset(self.name, None).size:
            settings |= {
                argument: side if argument == "image_size" else (side, side)
                for begins, argument in _SIZE_ARGUMENT.items()
                if self.name.startswith(begins)
            }
        return cast(nn.Module, get_model(self.name, weights=None, **settings))

    def load(self, classifier: nn.Module) -> None:
        """Loads published weights, or those of a file."""
        published = _published(self.name)
        if self._weights in published:
            what = f"weights {self._weights} of '{self.name}'"
            load_published(classifier, published[self._weights], what)
        elif self._weights is not None:
            load_file(classifier, self._weights)

    def to_map(self, classifier: nn.Module) -> nn.Module:
        """The classifier up to its last map."""
        return up_to_map(classifier)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the published weights."""
        preset = _preset(self.name, self._weights)
        return preset._replace(size=self.size or preset.size)

    @property
    def _weights(self) -> str | None:
        # Not resolved where a program constructs the model.
        return _default(self.name) if self.weights == "default" else self.weights
