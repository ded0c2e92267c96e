"""Regressions: scores worse than a baseline's, beyond the noise of both and beyond a tolerance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from labelattack.benchmark.boards.keys import CPU, DEVICE, BoardKey, PairKey
from labelattack.benchmark.boards.text import row_title, some
from labelattack.benchmark.gate.baseline import (
    Baseline,
    BaselineBoard,
    BaselineRow,
    baseline_of,
    read_baseline,
)
from labelattack.benchmark.gate.current import current
from labelattack.benchmark.gate.rows import matched, name_of, why_absent
from labelattack.benchmark.gate.scores import Sides, sides_of, two_sided
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import StoreError
from labelattack.measures.request import measure_named, measure_of, metric_named
from labelattack.metrics.statistics import holm

MIN_SEEDS = 2
Verdict = Literal[
    "regression", "improved", "within tolerance", "not told from noise", "equal", "cannot compare"
]


def _known(name: str) -> str:
    metric_named(name)
    return name


Metric = Annotated[str, AfterValidator(_known)]


class Limits(BaseModel):
    """Limits beyond which a drop counts as a regression.

    Attributes:
        alpha: Chance that pure noise anywhere in a check counts as one, in (0, 1).
        tolerance: Largest tolerated drop in points, significant or not.
        measures: What is compared; points are hundredths of its unit.
        same_versions: Whether a row of another version of its attack or defense cannot be compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    measures: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("map",)
    same_versions: bool = False


class Change(BaseModel):
    """One measure of one row, then and now; in points.

    Attributes:
        board: What it was measured on.
        pair: Attack and defense, with their versions then.
        versions: Those versions, then and now, if they are not the same.
        measure: What was measured.
        verdict: What came of it; ``regression`` and ``cannot compare`` fail a check.
        reason: Why it cannot be compared.
        test: ``paired`` over the seeds that both have, or ``Welch`` where seeds or attacked labels
            are not the same.
        seeds: How many, then and now.
        before: Mean of the baseline.
        now: Mean now.
        drop: How much worse it is now; negative if better.
        interval: Half-width of the drop's 95 % t-interval, for this row alone.
        p: One-sided p-value of the drop.
        p_corrected: The same by Holm's correction over all comparisons of the check.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    board: BoardKey
    pair: PairKey
    versions: tuple[str, str] | None = None
    measure: str
    verdict: Verdict
    reason: str = ""
    test: Literal["paired", "Welch"] | None = None
    seeds: tuple[int, int] | None = None
    before: float | None = None
    now: float | None = None
    drop: float | None = None
    interval: float | None = None
    p: float | None = None
    p_corrected: float | None = None


class Check(BaseModel):
    """Result of a comparison with a baseline.

    Attributes:
        limits: What counted as a regression.
        changes: Every comparison, in the order of the baseline.
        notes: What else differs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: Limits
    changes: list[Change]
    notes: list[str]

    def of(self, verdict: Verdict) -> list[Change]:
        """The comparisons with that verdict."""
        return [change for change in self.changes if change.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """1 if there is a regression, else 2 if anything cannot be compared, else 0."""
        if self.of("regression"):
            return 1
        return 2 if self.of("cannot compare") or not self.changes else 0


def check_store(results: Path, baseline: Path, limits: Limits) -> Check:
    """Compares a store with a baseline.

    Args:
        results: Store written by bench.
        baseline: File written by ``labelattack check --update``.
        limits: What counts as a regression.

    Raises:
        StoreError: If one of them cannot be read.
    """
    then = read_baseline(baseline)
    return check_records(RecordStore(results, create=False), then, limits)


def check_records(results: Iterable[Record], then: Baseline, limits: Limits) -> Check:
    """Compares records with a baseline; of a row in several versions the current one.

    Args:
        results: Records, in any order.
        then: The baseline.
        limits: What counts as a regression.
    """
    records, left_out = current(results)
    found = compare(then, baseline_of(records, limits.measures), limits)
    return found.model_copy(update={"notes": [*found.notes, *left_out]})


def compare_records(then: Iterable[Record], now: Iterable[Record], limits: Limits) -> Check:
    """Compares records with others as its baseline; of a row in several versions the current one.

    Args:
        then: Records of the baseline, in any order.
        now: Records, in any order.
        limits: What counts as a regression.

    Raises:
        StoreError: If one of them holds no finished run with any of the measures.
    """
    before, left_out_then = current(then)
    after, left_out = current(now)
    one, other = (baseline_of(records, limits.measures) for records in (before, after))
    for name, side in (("first", one), ("second", other)):
        if not any(row.scores for board in side.boards for row in board.rows):
            measures = " or ".join(limits.measures)
            raise StoreError(
                f"the {name} of two results must hold a finished run with {measures}, got none"
            )
    found = compare(one, other, limits, filed=False)
    notes = [*found.notes, *(f"baseline: {note}" for note in left_out_then), *left_out]
    return found.model_copy(update={"notes": notes})


def compare(then: Baseline, now: Baseline, limits: Limits, *, filed: bool = True) -> Check:
    """Compares every row and measure of a baseline with what is there now.

    A row is an attack and a defense on one board; it is the same one in another version of them.

    Args:
        then: The baseline.
        now: The same of what was run now.
        limits: What counts as a regression.
        filed: Whether the baseline is a file, to which ``check --update`` adds what it lacks.

    Returns:
        The comparisons. Drops are tested one-sidedly and corrected (Holm 1979) over all rows and
        measures that can be compared; rises likewise, by themselves.
    """
    found = list(_all(then, now, limits, filed=filed))
    tested = [each for each in found if isinstance(each, _Tested)]
    worse = iter(holm([each.worse for each in tested]))
    better = iter(holm([each.better for each in tested]))
    return Check(
        limits=limits,
        changes=[
            each if isinstance(each, Change) else _judged(each, next(worse), next(better), limits)
            for each in found
        ],
        notes=[*_versions(then, now), *_unknown(then, now, limits, filed=filed)],
    )


class _Tested(NamedTuple):
    """A comparison that waits for its correction; one-sided p-values in both directions."""

    change: Change
    worse: float
    better: float


def _judged(tested: _Tested, worse: float, better: float, limits: Limits) -> Change:
    change = tested.change
    drop = change.drop or 0.0
    verdict: Verdict = "not told from noise"
    if change.verdict == "equal":
        verdict = "equal"
    elif min(worse, better) < limits.alpha:
        verdict = "regression" if drop > 0 else "improved"
        if abs(drop) <= limits.tolerance:
            verdict = "within tolerance"
    return change.model_copy(update={"verdict": verdict, "p_corrected": worse})


def _all(
    then: Baseline, now: Baseline, limits: Limits, *, filed: bool
) -> Iterator[Change | _Tested]:
    boards = {board.identity: board for board in now.boards}
    for old in then.boards:
        new = boards.get(old.identity)
        for before, after in matched(
            old.rows, new.rows if new else [], same_versions=limits.same_versions
        ):
            for measure in limits.measures:
                change = Change(
                    board=old.identity, pair=before.pair, measure=measure, verdict="cannot compare"
                )
                if after is None:
                    reason = why_absent(old.identity, before.pair, now)
                    yield change.model_copy(update={"reason": reason})
                else:
                    yield _compared(change, before, after, filed=filed)


def _compared(
    change: Change, before: BaselineRow, after: BaselineRow, *, filed: bool
) -> Change | _Tested:
    if before.versions != after.versions:
        change = change.model_copy(update={"versions": (before.versions, after.versions)})
    if reason := _obstacle(before, after, change.measure, filed=filed):
        return change.model_copy(update={"reason": reason})
    return _tested(change, sides_of(before, after, change.measure))


def _obstacle(before: BaselineRow, after: BaselineRow, measure: str, *, filed: bool) -> str:
    """Reason why two rows cannot be compared; empty if they can."""
    old, new = before.scores.get(measure, {}), after.scores.get(measure, {})
    failed = sorted(after.failed.keys() & old.keys())
    if failed:
        return f"seed {some(map(str, failed))} failed now: {after.failed[failed[0]]}"
    if not old:
        remedy = f"; --update --measure {measure} adds it" if filed else ""
        return f"the baseline has no {measure} of it{remedy}"
    if not new:
        return f"{measure} was not measured now"
    if (then := before.way(measure)) != (now := after.way(measure)):
        name = measure_named(measure_of(measure)).title()
        return f"{name} measured by {then} then, {now} now"
    sides = sides_of(before, after, measure)
    fewest = min(len(sides.old), len(sides.new))
    if fewest < MIN_SEEDS and not sides.equal:
        return f"{fewest} seed cannot tell a change from noise, at least {MIN_SEEDS} are needed"
    return ""


def _tested(change: Change, sides: Sides) -> _Tested:
    sign = 1 if metric_named(change.measure).higher_is_better else -1
    before, now = float(np.mean(sides.old)), float(np.mean(sides.new))
    drop = sign * (before - now) + 0.0  # not -0.0
    interval, worse, better = 0.0, 1.0, 1.0
    if not sides.equal:
        interval, p = two_sided(sides)
        worse, better = (p / 2, 1 - p / 2) if drop > 0 else (1 - p / 2, p / 2)
    told = {
        "verdict": "equal" if sides.equal else change.verdict,
        "test": "paired" if sides.same else "Welch",
        "seeds": (len(sides.old), len(sides.new)),
        "before": before,
        "now": now,
        "drop": drop,
        "interval": interval,
        "p": worse,
    }
    return _Tested(change.model_copy(update=told), worse, better)


def _versions(then: Baseline, now: Baseline) -> list[str]:
    before, after = ({DEVICE: CPU} | baseline.libraries for baseline in (then, now))
    return [
        f"{name} {old} then, {after[name]} now"
        for name, old in before.items()
        if after.get(name, old) != old
    ]


def _unknown(then: Baseline, now: Baseline, limits: Limits, *, filed: bool) -> list[str]:
    def key(board: BaselineBoard, row: BaselineRow) -> tuple[object, ...]:
        return board.identity, row.pair if limits.same_versions else name_of(row)

    known = {key(board, row) for board in then.boards for row in board.rows}
    names = [
        row_title(row) for board in now.boards for row in board.rows if key(board, row) not in known
    ]
    remedy = "; --update adds it" if filed else ""
    return [f"not in the baseline: {some(names)}{remedy}"] if names else []
