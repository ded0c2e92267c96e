"""Record of one cell: its outcome, and what is needed to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from labelattack.benchmark.plan.cell import Cell
from labelattack.measures import registry as measures
from labelattack.measures.base import Measure
from labelattack.measures.clean_scores import CleanScores
from labelattack.measures.outcome import Outcome
from labelattack.measures.request import NOTHING, MeasureRequest
from labelattack.training.recipe import Epoch

# Format: outcomes that have a field of their own; those of all other measures lie in ``measures``.
_FIELDS = {"d-score": "diagnosis", "evasion": "evasion", "corruption": "corruption"}


class Removal(BaseModel):
    """Labels that the attack removed from the training split; shares in [0, 1], of known ones.

    ``attacked_labels`` is a hash of what it left: defenses are compared on equal ones only.
    ``known_share`` is the share of the entries that were known before; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requested_rate: float | None
    realised_rate: float | None
    rate_of: str
    positives_removed: float | None
    q_hat: float | None
    attacked_labels: str | None = None
    known_share: float | None = Field(default=None, exclude_if=lambda share: share is None)


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
        preprocessing: Preprocessing of the model: size, mean, std, flip; None in older records.
        selected_epoch: Epoch (from 1) whose model was tested.
        val_map: Validation mAP of that epoch; None if undefined.
        test: Scores on the test split.
        outcomes: Outcome of each measure that was taken, by the measure's name.
        unread: Outcomes of measures that are not at hand, as they were read.
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
    preprocessing: dict[str, Any] | None = Field(
        default=None, exclude_if=lambda preprocessing: preprocessing is None
    )
    epochs: list[Epoch] = []
    selected_epoch: int | None = None
    val_map: float | None = None
    test: CleanScores | None = None
    outcomes: dict[str, SerializeAsAny[Outcome]] = {}
    unread: dict[str, dict[str, Any]] = {}
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    created: str = ""
    libraries: dict[str, str] = {}
    commit: str | None = None
    machine: str = ""
    device: str = ""
    peak_memory: float | None = None

    def lacking(self, request: MeasureRequest) -> MeasureRequest:
        """Requested measures that the run lacks; nothing of a failed one."""
        if self.status != "done" or self.test is None:
            return NOTHING
        return request.lacking(self.outcomes, self.test.resamples)

    def value(self, metric: str, measure: str) -> float | None:
        """A metric of a finished run, in its own unit; None if it has none.

        Args:
            metric: Name of the metric.
            measure: Name of its measure; empty for mAP.
        """
        if not measure:
            return None if self.test is None else self.test.map
        outcome = self.outcomes.get(measure)
        return None if outcome is None else outcome.value(metric)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """Puts outcomes together, wherever the format has them."""
        if not isinstance(data, Mapping) or "outcomes" in data:
            return data
        fields = dict(data)
        outcomes = {name: fields.pop(field, None) for name, field in _FIELDS.items()}
        others = fields.pop("measures", None) or {}
        known = {name for name in others if measures.is_known(name)}
        outcomes |= {name: others[name] for name in known}
        fields["outcomes"] = {name: of for name, of in outcomes.items() if of is not None}
        fields["unread"] = {name: of for name, of in others.items() if name not in known}
        return fields

    @field_validator("outcomes", mode="before")
    @classmethod
    def _read(cls, outcomes: Mapping[str, Any]) -> dict[str, Outcome]:
        read = {}
        for name, value in outcomes.items():
            if isinstance(value, Outcome):
                read[name] = value
                continue
            try:
                read[name] = _outcome_of(name).model_validate(value)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, (name, *first["loc"])))
                raise ValueError(f"{where}: {first['msg']}") from None
        return read

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Outcomes as the format has them."""
        fields: dict[str, Any] = {}
        for key, value in handler(self).items():
            if key == "outcomes":
                fields |= {field: value.get(name) for name, field in _FIELDS.items()}
                others = {name: of for name, of in value.items() if name not in _FIELDS}
                if others or self.unread:
                    fields["measures"] = dict(sorted((others | self.unread).items()))
            elif key != "unread":
                fields[key] = value
        return fields


def _outcome_of(name: str) -> type[Outcome]:
    cls = measures.get(name)
    if not issubclass(cls, Measure):
        raise ValueError(f"{name} is derived from boards and has no outcome")
    return cls.outcome


def points(record: Record) -> float:
    """Test mAP of a record in points; NaN if it failed."""
    return 100 * record.test.map if record.test is not None else float("nan")
