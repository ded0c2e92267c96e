"""What is measured of a trained network beside its test mAP; it never changes a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from labelattack.benchmark.spec import Measure
from labelattack.benchmark.store import Record
from labelattack.diagnosis.outcome import VERSION
from labelattack.diagnosis.settings import DScoreSettings


class Measures(BaseModel):
    """What is wanted of every finished cell.

    Attributes:
        d_score: How to measure the D-Score; None for none.
        resamples: Resamples of the test images for the interval of one run's mAP; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_score: DScoreSettings | None = None
    resamples: NonNegativeInt = 0

    def lacking(self, record: Record) -> bool:
        """Whether a finished record has not all of it, or has it measured in another way."""
        if record.status != "done" or record.test is None:
            return False
        found = record.diagnosis
        measured = found is not None and (found.version, found.settings) == (VERSION, self.d_score)
        return (self.d_score is not None and not measured) or (
            self.resamples not in (0, record.test.resamples)
        )


NOTHING_MORE = Measures()


def value_of(record: Record, measure: Measure) -> float | None:
    """A measure of a finished record, in its own unit; None if it has none."""
    of = record.test if measure == "map" else record.diagnosis
    value: float | None = None if of is None else getattr(of, measure)
    return value
