from dataclasses import dataclass

import numpy as np

from labelattack.attacks.base import LabelAttack


@dataclass(frozen=True, kw_only=True)
class EveryOther(LabelAttack):
    """Hides every other image."""

    start: int = 0

    def observe(self, labels, rng):
        rows = np.arange(len(labels)) % 2 == self.start
        return np.repeat(rows[:, None], labels.shape[1], axis=1)
