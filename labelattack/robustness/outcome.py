"""What changing pixels comes to."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from labelattack.robustness.settings import Corruption, CorruptionSettings, EvasionSettings, Table

VERSION = 1


class _Outcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = VERSION
    images: int
    clean: float
    map: float


class Evaded(_Outcome):
    """mAP under an evasion attack.

    Attributes:
        version: Version of the measurement.
        settings: How it was measured.
        images: Number of images used.
        clean: mAP on these images as they are, in [0, 1].
        map: mAP on them attacked, in [0, 1].
    """

    settings: EvasionSettings


class Corrupted(_Outcome):
    """mAP under common corruptions.

    Attributes:
        version: Version of the measurement.
        settings: How it was measured.
        images: Number of images used.
        clean: mAP on these images as they are, in [0, 1].
        map: Mean over corruptions and severities of the mAP on them corrupted, in [0, 1].
        table: Whose severities.
        by_severity: mAP under each corruption, from severity 1 to 5.
    """

    settings: CorruptionSettings
    table: Table
    by_severity: dict[Corruption, tuple[float, ...]]
