"""Record of one cell: its outcome, and what is needed to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from labelattack.benchmark.plan.cell import Cell
from labelattack.measures._d_score.outcome import Diagnosis
from labelattack.measures._px_outcome import Corrupted, Evaded
from labelattack.training.recipe import Epoch

if TYPE_CHECKING:
    pass


class Removal(BaseModel):
    """What the attack removed from the training labels; shares in [0, 1].

    ``attacked_labels`` is a hash of what it left: defenses are compared on equal ones only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requested_rate: float | None
    realised_rate: float | None
    rate_of: str
    positives_removed: float | None
    q_hat: float | None
    attacked_labels: str | None = None


class CleanScores(BaseModel):
    """Scores on clean test labels at the selected epoch; in [0, 1], None where undefined.

    Attributes:
        map: Mean average precision over classes.
        map_micro: All cells as one ranking.
        map_voc_11_point: The interpolated measure of VOC 2007.
        per_class: Average precision of each class.
        undefined_classes: Number of classes that have none.
        saturated_classes: Classes positive on every image that counts: any model has an AP of 1.
        map_interval: 95 % bootstrap interval of ``map`` over images.
        resamples: How many resamples that interval is of; 0 for none.
        mean_prediction: Mean predicted probability of a label.
        prevalence: Share of the test labels that are positive.
        constant_classes: Classes that get the same score on every image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    map: float
    map_micro: float
    map_voc_11_point: float
    per_class: dict[str, float | None]
    undefined_classes: int
    map_interval: tuple[float, float] | None = None
    resamples: int = 0
    mean_prediction: float | None = None
    prevalence: float | None = None
    constant_classes: int | None = None
    saturated_classes: tuple[str, ...] = ()


class Record(BaseModel):
    """The outcome of one cell, with what is needed to trust it.

    Attributes:
        key: The cell's key.
        cell: The cell.
        status: ``failed`` cells have a reason and no scores.
        reason: Why it failed.
        oracle: Whether the defense saw the clean labels.
        privileged: Whether it was told the expected number of positives.
        removal: What the attack removed.
        selection_rule: On which validation cells epoch and recipe are chosen, or that they are not.
        caveats: What of the way it was trained makes its numbers differ from the recipe's letter.
        fallbacks: Why fast paths were left; numbers are the same without it.
        epochs: What each epoch came to.
        selected_epoch: Epoch (from 1) whose model was tested.
        val_map: Validation mAP of that epoch; None if undefined.
        test: Scores on the test split.
        diagnosis: D-Score on the test split; None if it was not asked for.
        evasion: mAP on test images under an evasion attack; likewise.
        corruption: mAP on test images under common corruptions; likewise.
        seconds: Wall time of the run.
        cpu_seconds: CPU time of the run.
        created: UTC time, ISO 8601.
        libraries: Versions of what computed it.
        commit: Git commit of the package's source, if it is a checkout.
        machine: Processor and platform.
        device: What it was computed on.
        peak_memory: Most memory that the process had held when the cell was finished, in MiB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    key: str
    cell: Cell
    status: Literal["done", "failed"]
    reason: str = ""
    oracle: bool = False
    privileged: bool = False
    removal: Removal | None = None
    selection_rule: str = ""
    caveats: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    epochs: list[Epoch] = []
    selected_epoch: int | None = None
    val_map: float | None = None
    test: CleanScores | None = None
    diagnosis: Diagnosis | None = None
    evasion: Evaded | None = None
    corruption: Corrupted | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    created: str = ""
    libraries: dict[str, str] = {}
    commit: str | None = None
    machine: str = ""
    device: str = ""
    peak_memory: float | None = None


def points(record: Record) -> float:
    """Test mAP of a record in points; NaN if it failed."""
    return 100 * record.test.map if record.test is not None else float("nan")
