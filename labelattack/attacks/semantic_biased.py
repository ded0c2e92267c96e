"""Attack that leaves labelled what people name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from labelattack.attacks import register
from labelattack.attacks.biased import BiasedAttack
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.files.storage import TablePath
from labelattack.labels import PartialLabels


@register("semantic-biased")
@dataclass(frozen=True, kw_only=True)
class SemanticBiasedAttack(BiasedAttack):
    """Keeps positives with chances in proportion to the weights of their classes.

    A class's weight says how often people name it when they describe an image that has it. Where
    all weights of an image's positives are 0, the choice is uniform. It knows the weights, which
    only a file can give. Published for one positive of each image of COCO 2014. With a rate, a
    share of all known positives is removed: over the data set, those that stay are drawn without
    replacement, with chances in proportion to an image's weights divided by their sum (our
    definition).

    Args:
        rate: Share of the known positives that is removed, in [0, 1]: exactly
            round(rate * positives); ``none`` keeps one positive of each image.
        keep_negatives: Keep negatives known.
        weights: Table with columns ``class`` and ``weight``, from 0 to 1.
    """

    source: ClassVar[str] = "Arroyo, Perona and Cole 2023, Understanding Label Bias (P_semantic)"
    references: ClassVar[str] = "arroyo2023"
    needs: ClassVar[tuple[Need, ...]] = ("weights",)

    weights: TablePath | None = None

    def weights_of(self, labels: PartialLabels, knowledge: Knowledge) -> NDArray[Any]:
        """Weight of the class."""
        return knowledge.weights[labels.positive_entries()[1]]
