"""Contract of a corruption, and the tables of strengths that it belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelattack.corruptions.tables import Table

Pixels = NDArray[np.uint8]
Strengths = Mapping[Table, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Corruption(ABC):
    """A change of an image that a person hardly minds, at five severities.

    Subclass as a keyword-only frozen dataclass whose fields are the corruption's parameters, set
    ``strengths``, implement the call, and register it.

    Attributes:
        version: Raise it whenever its output changes.
        source: Where the corruption and its strengths come from.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        strengths: For each table, the strength at severities 1 to 5: ``imagenet-c`` for images of
            about 224 pixels, ``cifar-10-c`` for those of about 32.
        standard: Whether it is one of those that the measure of corruption averages by default.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    strengths: ClassVar[Strengths]
    standard: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        """Corrupts one image, and leaves the one given as it is.

        Args:
            image: uint8 ``[height, width, 3]``.
            strength: How much, in the corruption's own unit.
            rng: The only permitted source of randomness.

        Returns:
            uint8, of the same shape.
        """


def rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    """Values clipped to [0, 255] and rounded to the nearest integer."""
    pixels: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return pixels
