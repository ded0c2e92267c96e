"""Base class of attacks that know more than labels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from labelattack.attacks.base import LabelAttack
from labelattack.attacks.knowledge import Knowledge, lacking_text
from labelattack.errors import AttackError
from labelattack.labels import BoolArray, PartialLabels


@dataclass(frozen=True, kw_only=True)
class InformedAttack(LabelAttack):
    """A label-removal attack that uses knowledge beside the labels.

    Declare it in ``needs`` and implement
    [keep_informed][labelattack.attacks.informed.InformedAttack.keep_informed]. A parameter with the
    name of a need is the path of a file that gives it. Where there is none, the benchmark computes
    it when it is first read.
    """

    @abstractmethod
    def keep_informed(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> BoolArray:
        """Selects, of the known entries, those that stay known.

        Args:
            labels: Labels, all of them known or not.
            knowledge: The kinds of knowledge that the attack declares.
            rng: The only permitted source of randomness.

        Returns:
            bool ``[known]``, image by image, True where the label stays known.
        """

    def observe(self, labels: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Refuses: call the attack with knowledge.

        Raises:
            AttackError: Always.
        """
        raise AttackError(lacking_text(self, self.needs[0]))

    def _attacked(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> PartialLabels:
        kept = self.keep_informed(labels, knowledge, rng)
        return labels.keep(self._checked("keep_informed", kept, labels.known_values.shape))
