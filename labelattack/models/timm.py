"""Architectures of timm: convolutional networks, and token models whose tokens become a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo
from torch import Tensor, nn

from labelattack.files.storage import path_unless
from labelattack.models import register
from labelattack.models.base import Preprocessing
from labelattack.models.library import (
    LibraryModel,
    as_map,
    check_layout,
    layout,
    nearest,
    unavailable,
)
from labelattack.models.weights import load_weights
from labelattack.optional import require

_SECONDS = 10.0  # to wait for the server of published weights


def _known(name: str, info: ValidationInfo) -> str:
    """The name of an architecture; of published weights with their tag, which tells which."""
    timm = require("timm", "timm")
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        raise ValueError(f"must be an architecture of timm, {nearest(name, timm.list_models())}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        tags = timm.list_pretrained(f"{architecture}.*")
        raise ValueError(f"must have a tag that timm knows, {nearest(name, tags)}") from None
    if info.data.get("weights") != "pretrained":
        return name
    if not config.has_weights:
        raise ValueError(
            f"must have published weights, got '{name}', which has none; give weights=none, or "
            "weights=PATH of a state dict"
        )
    return name if tag or not config.tag else f"{name}.{config.tag}"


def _native(size: int | None, info: ValidationInfo) -> int | None:
    """The size, by default that of the architecture."""
    return size if size is not None or "name" not in info.data else _config(info.data["name"])[0]


Size = Annotated[
    Annotated[int, Field(ge=16)] | None, AfterValidator(_native), Field(validate_default=True)
]


def _config(name: str) -> tuple[int, Any]:
    """Native size of an architecture, and what timm knows of it; no network is used."""
    config = require("timm", "timm").get_pretrained_cfg(name)
    return config.input_size[-1], config


class _LastStage(nn.Module):
    """Output of a network's last stage, after its last normalisation, as a map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        network: Any = self.network
        return as_map(
            network.forward_features(images),
            prefix=getattr(network, "num_prefix_tokens", None),
            channels_last=getattr(network, "output_fmt", "NCHW") == "NHWC",
        )


@register("timm")
@dataclass(frozen=True, kw_only=True)
class Timm(LibraryModel):
    """An architecture of timm, by its name there; needs the extra [timm].

    The map is the output of the architecture's last stage (``forward_features``); patch tokens are
    laid out as a map, class and register tokens are dropped. Layers that timm puts between the map
    and its own classifier are left out.

    Args:
        weights: ``pretrained`` downloads those that timm publishes, ``none`` starts at random,
            anything else is the path of a state dict.
        name: As in ``timm.list_models()``, with or without the tag of published weights.
        size: Side to which images are squashed; by default the architecture's own.
    """

    source: ClassVar[str] = "Wightman 2019, PyTorch Image Models"
    references: ClassVar[str] = "wightman2019"
    libraries: ClassVar[tuple[str, ...]] = ("timm",)
    always_shown: ClassVar[str] = "weights"

    weights: Annotated[str, path_unless("pretrained")] | None = "pretrained"
    name: Annotated[str, AfterValidator(_known)]
    size: Size = None

    def __post_init__(self) -> None:
        check_layout(self, f"architecture '{self.name}' of timm", _config(self.name)[0])

    def classifier(self, labels: int) -> nn.Module:
        """Builds the classifier as timm does."""
        return self._create(labels, pretrained=False)

    def backbone(self) -> nn.Module:
        """All layers up to the last map; of the layers after it nothing is trained."""
        backbone = super().backbone()
        for name in layout(self).unused:
            backbone.get_parameter(name).requires_grad_(False)
        return backbone

    def load(self, classifier: nn.Module) -> None:
        """Loads published weights, or those of a file."""
        if self.weights == "pretrained":
            try:
                file = _downloaded(self.name)
                overlay = {"pretrained_cfg_overlay": {"file": file}} if file else {}
                published = self._create(0, pretrained=True, **overlay)
            except Exception as error:
                raise unavailable(f"weights of '{self.name}'", error) from error
            classifier.load_state_dict(published.state_dict())
        elif self.weights is not None:
            heads = _config(self.name)[1].classifier or ()
            names = (heads,) if isinstance(heads, str) else tuple(heads)
            unused = (name.removeprefix("network.") for name in layout(self).unused)
            ignored = (*(f"{name}." for name in names), *unused)
            load_weights(classifier, self.weights, ignore=ignored)

    def to_map(self, classifier: nn.Module) -> nn.Module:
        """The classifier up to ``forward_features``."""
        return _LastStage(classifier)

    @property
    def preprocessing(self) -> Preprocessing:
        """Statistics with which timm's weights for the architecture were trained."""
        native, config = _config(self.name)
        return Preprocessing(self.size or native, config.mean, config.std, flip=True)

    def _create(self, labels: int, *, pretrained: bool, **settings: Any) -> nn.Module:
        config, side = _config(self.name)[1], self.preprocessing.size
        if config.fixed_input_size and (side, side) != config.input_size[1:]:
            settings["img_size"] = side
        network: nn.Module = require("timm", "timm").create_model(
            self.name, pretrained=pretrained, num_classes=labels, **settings
        )
        return network


def _downloaded(name: str) -> str | None:
    """File of published weights that was downloaded before; None if there is none.

    Fails at once where there is none and their server is out of reach: its client would try for a
    minute, print every attempt, and ask the server for files that it has.
    """
    hub = require("huggingface_hub", "timm")
    place = _config(name)[1].hf_hub_id
    if not place:  # from another server, whose client fails at once
        return None
    repository = f"timm/{name}" if place == "timm/" else place
    found = hub.try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(found, str):
        return found
    hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=_SECONDS)
    return None
