"""Your first attack: hide everything about one class."""

from dataclasses import dataclass

from labelattack import LabelAttack, attacks


@attacks.register("wipe-class")
@dataclass(frozen=True, kw_only=True)
class WipeClass(LabelAttack):
    """Hides one class on every image."""

    column: int = 0

    def observe(self, labels, rng):
        keep = labels | True
        keep[:, self.column] = False
        return keep
