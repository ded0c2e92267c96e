"""What is measured of a trained network beside its test mAP; it never changes a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from labelattack.benchmark.plan.config import Measure
from labelattack.benchmark.store.record import Record
from labelattack.measures import _px_outcome as robustness
from labelattack.measures._d_score import outcome as diagnosis
from labelattack.measures._d_score.settings import DScoreSettings
from labelattack.measures._px_settings import CorruptionSettings, EvasionSettings
from labelattack.mutations import registry as mutations


class Measures(BaseModel):
    """What is wanted of every finished cell.

    Attributes:
        d_score: How to measure the D-Score; None for none.
        evasion: How to attack test images; None for not at all.
        corruption: How to corrupt test images; None for not at all.
        resamples: Resamples of the test images for the interval of one run's mAP; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_score: DScoreSettings | None = None
    evasion: EvasionSettings | None = None
    corruption: CorruptionSettings | None = None
    resamples: NonNegativeInt = 0

    def lacking(self, record: Record) -> Measures:
        """What of it a finished record has not, or has measured in another way."""
        if record.status != "done" or record.test is None:
            return NOTHING_MORE
        there = {
            "d_score": _is(record.diagnosis, self.d_score, diagnosis.VERSION)
            and self._is_of_operator(record.diagnosis),
            "evasion": _is(record.evasion, self.evasion, robustness.VERSION),
            "corruption": _is(record.corruption, self.corruption, robustness.VERSION),
            "resamples": record.test.resamples == self.resamples,
        }
        return Measures(**{name: getattr(self, name) for name, is_ in there.items() if not is_})

    def _is_of_operator(self, found: diagnosis.Diagnosis | None) -> bool:
        """Whether a D-Score is of the mutation operator that is at hand, not of an edited one."""
        if found is None or self.d_score is None:
            return False
        return found.operator_version == mutations.version(self.d_score.operator)


_Outcome = diagnosis.Diagnosis | robustness.Evaded | robustness.Corrupted


def _is(found: _Outcome | None, wanted: BaseModel | None, version: int) -> bool:
    return found is not None and (found.version, found.settings) == (version, wanted)


NOTHING_MORE = Measures()


def value_of(record: Record, measure: Measure) -> float | None:
    """A measure of a finished record, in its own unit; None if it has none."""
    of, name = {
        "map": (record.test, "map"),
        "evasion": (record.evasion, "map"),
        "corruption": (record.corruption, "map"),
    }.get(measure, (record.diagnosis, measure))
    value: float | None = None if of is None else getattr(of, name)
    return value


def way_of(record: Record, measure: Measure) -> str:
    """How a measure of a finished record was taken; empty for mAP, or if it has none."""
    if measure == "map":
        return ""
    if measure in ("evasion", "corruption"):
        found = record.evasion if measure == "evasion" else record.corruption
        if found is None:
            return ""
        return f"version {found.version}, {found.settings.describe()}, {found.images} images"
    if record.diagnosis is None:
        return ""
    how = record.diagnosis.settings.changes()
    operator = record.diagnosis.operator_version
    edited = f", operator version {operator}" * (operator != "1")
    return f"version {record.diagnosis.version}{how and f', {how}'}{edited}"
