"""Baseline file: per-seed scores of every board row, sorted for review."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from labelattack.benchmark.boards.keys import (
    BoardKey,
    PairKey,
    board_key_of,
    libraries_of,
    pair_key_of,
)
from labelattack.benchmark.boards.text import row_title
from labelattack.benchmark.selection import best_on_validation
from labelattack.benchmark.store.record import Record
from labelattack.errors import StoreError
from labelattack.files.storage import saved
from labelattack.measures.request import measure_of
from labelattack.registry.parameters import broken_rule

FORMAT: Literal[1] = 1
Seed = Annotated[int, Field(ge=0)]
Points = Annotated[float, Field(allow_inf_nan=False)]


# Format: measures whose settings have a field of their own; those of others lie in ``ways``.
_FIELDS = {"d-score": "d_score", "evasion": "evasion", "corruption": "corruption"}


class BaselineRow(PairKey):
    """Scores of an attack and a defense.

    Attributes:
        labels: Hash of the attacked labels, by seed; where unknown, none.
        scores: For each measure, the score of each seed in points: hundredths of its unit.
        failed: Why a seed has no score.
        d_score: How the D-Score was measured, if it was.
        evasion: How test images were attacked, if they were.
        corruption: How test images were corrupted, if they were.
        ways: How each other measure was taken, by the measure's name.
    """

    labels: dict[Seed, str]
    scores: dict[str, dict[Seed, Points]]
    failed: dict[Seed, str] = Field(default={})
    d_score: str = ""
    evasion: str = ""
    corruption: str = ""
    ways: dict[str, str] = Field(default={})

    def way(self, metric: str) -> str:
        """How the measure of a metric was taken; empty for mAP, or if it was not."""
        measure = measure_of(metric)
        if measure in _FIELDS:
            return str(getattr(self, _FIELDS[measure]))
        return self.ways.get(measure, "")

    @property
    def pair(self) -> PairKey:
        """The row without its scores."""
        return PairKey(attack=self.attack, defense=self.defense, versions=self.versions)


class BaselineBoard(BoardKey):
    """A board's rows, sorted."""

    rows: list[BaselineRow]

    @property
    def identity(self) -> BoardKey:
        """The board without its rows."""
        return BoardKey(**{name: getattr(self, name) for name in BoardKey.model_fields})

    @model_validator(mode="after")
    def _each_row_once(self) -> BaselineBoard:
        pairs = [row.pair for row in self.rows]
        if len(set(pairs)) < len(pairs):
            raise ValueError("must have each row once, got one twice")
        return self


class Baseline(BaseModel):
    """Scores to compare with.

    Attributes:
        format: Of the file.
        libraries: Versions of what computed the scores; several are joined by ``and``.
        boards: Sorted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    libraries: dict[str, str]
    boards: list[BaselineBoard]

    @model_validator(mode="after")
    def _each_board_once(self) -> Baseline:
        identities = [board.identity for board in self.boards]
        if len(set(identities)) < len(identities):
            raise ValueError("must have each board once, got one twice")
        return self


def baseline_of(records: Iterable[Record], metrics: Iterable[str]) -> Baseline:
    """Scores of the runs that validation chooses.

    Args:
        records: Finished and failed records, in any order.
        metrics: Names of the metrics to keep, where they were measured.

    Returns:
        Boards and rows, sorted; points are rounded to four digits.
    """
    runs: dict[BoardKey, dict[PairKey, dict[int, list[Record]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    records = list(records)
    for record in records:
        runs[board_key_of(record)][pair_key_of(record)][record.cell.seed].append(record)
    wanted = {metric: measure_of(metric) for metric in sorted(set(metrics))}
    return Baseline(
        format=FORMAT,
        libraries={name: " and ".join(v) for name, v in libraries_of(records).items()},
        boards=[
            BaselineBoard(
                **identity.model_dump(),
                rows=[_row(pair, rows[pair], wanted) for pair in _sorted(rows)],
            )
            for identity, rows in ((identity, runs[identity]) for identity in _sorted(runs))
        ],
    )


def _sorted(found: Iterable[Any]) -> list[Any]:
    return sorted(found, key=lambda model: tuple(model.model_dump().values()))


def _row(pair: PairKey, runs: dict[int, list[Record]], places: Mapping[str, str]) -> BaselineRow:
    """Row of a baseline, given the measure of each metric that is kept."""
    labels: dict[int, str] = {}
    failed: dict[int, str] = {}
    scores: dict[str, dict[int, float]] = {}
    ways: dict[str, set[str]] = {}
    for seed, records in sorted(runs.items()):
        best = best_on_validation(records)
        if best is None:
            failed[seed] = records[0].reason
            continue
        if best.removal is not None and best.removal.attacked_labels is not None:
            labels[seed] = best.removal.attacked_labels
        for metric in places:
            measure = places[metric]
            value = best.value(metric, measure)
            if value is not None:
                scores.setdefault(metric, {})[seed] = round(100 * value, 4)
            if measure in best.outcomes:
                ways.setdefault(measure, set()).add(best.outcomes[measure].how())
    told = {name: " and ".join(sorted(found)) for name, found in ways.items()}
    return BaselineRow(
        **pair.model_dump(),
        labels=labels,
        scores=scores,
        failed=failed,
        **{_FIELDS[name]: way for name, way in told.items() if name in _FIELDS},
        ways={name: way for name, way in told.items() if name not in _FIELDS},
    )


def read_baseline(path: Path) -> Baseline:
    """Reads a baseline.

    Raises:
        StoreError: If it is absent, unreadable, damaged or of another format.
    """
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            f"baseline must be a file written by 'labelattack check --update', got '{path}', "
            "which is not there"
        ) from error
    except OSError as error:
        raise StoreError(f"baseline '{path}' cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        rule = broken_rule(first) if first["loc"] else first["msg"]
        raise StoreError(
            f"baseline '{path}' is damaged: {f'{where} ' * bool(where)}{rule}"
        ) from None


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes a baseline whole or not at all.

    Raises:
        StoreError: If it cannot be written.
    """
    text = baseline.model_dump_json(indent=1, exclude_defaults=True)
    with saved(path, "baseline") as part:
        part.write_text(text + "\n", encoding="utf-8")


def differences(old: Baseline, new: Baseline) -> list[str]:
    """Differences between two baselines, a line each."""
    before, after = _by_row(old), _by_row(new)
    found = []
    for key in dict.fromkeys([*before, *after]):
        if key not in after:
            found.append(f"gone: {row_title(before[key])}")
        elif key not in before:
            found.append(f"new: {row_title(after[key])}")
        elif before[key] != after[key]:
            found += _changes(row_title(after[key]), before[key], after[key])
    return found


def _by_row(baseline: Baseline) -> dict[tuple[BoardKey, str, str], BaselineRow]:
    return {
        (board.identity, row.attack, row.defense): row
        for board in baseline.boards
        for row in board.rows
    }


def _changes(name: str, old: BaselineRow, new: BaselineRow) -> list[str]:
    found = []
    if old.versions != new.versions:
        found.append(f"changed: versions of {name}: {old.versions} -> {new.versions}")
    for measure in sorted({*old.scores, *new.scores}):
        one, two = old.scores.get(measure, {}), new.scores.get(measure, {})
        if one != two:
            found.append(f"changed: {measure} of {name}: {_mean(one)} -> {_mean(two)}")
    return found or [f"changed: attacked labels or failed seeds of {name}"]


def _mean(scores: dict[int, float]) -> str:
    if not scores:
        return "none"
    return f"{sum(scores.values()) / len(scores):.2f} ({len(scores)} seeds)"
