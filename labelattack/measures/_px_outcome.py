"""What changing pixels comes to."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from labelattack.measures._px_settings import Corruption, CorruptionSettings, EvasionSettings, Table

VERSION = 1
KEPT = (
    "how much of what was learned is left, (mAP changed - chance) / (mAP clean - chance): 100 % if "
    "nothing was lost, 0 % at chance"
)
"""Meaning of ``Outcome.kept``, as boards and docs say it."""


class Outcome(BaseModel):
    """mAP on the same test images, as they are and changed; in [0, 1].

    Attributes:
        version: Version of the measurement.
        images: Number of images used.
        clean: mAP on these images as they are.
        map: mAP on them changed.
        chance: mAP of scores that are all equal: the mean share of positives.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = VERSION
    images: int
    clean: float
    map: float
    chance: float

    @property
    def kept(self) -> float | None:
        """Share of what was learned that is left: 1 all, 0 chance; None if nothing was learned."""
        learned = self.clean - self.chance
        return (self.map - self.chance) / learned if learned > 0 else None


class Evaded(Outcome):
    """mAP under an evasion attack, the least that any of its objectives left.

    Attributes:
        settings: How it was measured.
        by_objective: mAP under each that was tried.
        art: Version of ART that attacked them; empty if unknown.
    """

    settings: EvasionSettings
    by_objective: dict[str, float]
    art: str = ""


class Corrupted(Outcome):
    """mAP under common corruptions, the mean over them and their severities.

    Attributes:
        settings: How it was measured.
        table: Whose severities.
        by_severity: mAP under each corruption, from severity 1 to 5.
    """

    settings: CorruptionSettings
    table: Table
    by_severity: dict[Corruption, tuple[float, ...]]
