"""An attack that removes positives in an order: those of crowded images first."""

from dataclasses import dataclass

from labelattack import attacks
from labelattack.attacks.removal import PositiveRemoval


@attacks.register("crowded-first")
@dataclass(frozen=True, kw_only=True)
class CrowdedFirst(PositiveRemoval):
    """Removes the positives of images that have most of them."""

    def priority(self, labels, rng):
        rows, _ = labels.positive_entries()
        return labels.per_image("positives")[rows]
