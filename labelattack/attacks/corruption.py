"""Base class of attacks that change labels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelattack.attacks.base import Attack
from labelattack.attacks.knowledge import Knowledge
from labelattack.labels import BoolArray, PartialLabels


@dataclass(frozen=True, kw_only=True)
class LabelCorruption(Attack):
    """A label corruption: known entries get the other value, and none is hidden.

    Losses then see observed labels that may be wrong; no board mixes them with removed ones unless
    it is asked to. Subclass as a keyword-only frozen dataclass and implement
    [flip][labelattack.attacks.corruption.LabelCorruption.flip]. For one seed, the entries flipped
    at a smaller rate must be a subset of those flipped at a larger rate.
    """

    changes: ClassVar[bool] = True

    @abstractmethod
    def flip(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Selects the known entries that get the other value.

        Args:
            labels: Labels, all of them known or not.
            knowledge: The kinds of knowledge that the corruption declares in ``needs``.
            rng: The only permitted source of randomness.

        Returns:
            bool ``[known]``, image by image.
        """

    def _attacked(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> PartialLabels:
        flipped = self.flip(labels, knowledge, rng)
        return labels.flip(self._checked("flip", flipped, labels.known_values.shape))
