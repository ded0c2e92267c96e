"""A small network for the embedded dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from labelattack.models import register
from labelattack.models.base import Model, Preprocessing


@register("tiny")
@dataclass(frozen=True, kw_only=True)
class Tiny(Model):
    """Five convolutions to 64 channels, trained from scratch in seconds."""

    source: ClassVar[str] = "this project"
    references: ClassVar[str] = "labelattack"
    channels: ClassVar[int] = 64
    learning_rates: ClassVar[tuple[float, ...]] = (4e-3,)
    batch_sizes: ClassVar[tuple[int, ...]] = (16,)

    def backbone(self) -> nn.Module:
        """Convolutions with batch normalisation, halving the resolution twice."""
        layers: list[nn.Module] = []
        for inputs, outputs, stride in (
            (3, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1),
        ):  # fmt: skip
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers)

    @property
    def preprocessing(self) -> Preprocessing:
        """Pixels without normalisation; digits must not be flipped."""
        return Preprocessing(None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flip=False)
