"""Timing two things in turn, in one process, so that drift of the machine hits both alike."""

import statistics
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measured ratio: how many times as fast ``ours`` is as ``other``, or as long it takes.

    Attributes:
        what: What is measured.
        other: What it is measured against.
        ours, theirs: Seconds, medians.
        kind: ``speedup`` (theirs / ours) or ``cost`` (ours / theirs).
        ratio, low, high: Median, least and greatest over the rounds.
        goal: What it must reach (a speedup) or not exceed (a cost); None if only shown.
    """

    what: str
    other: str
    ours: float
    theirs: float
    kind: str
    ratio: float
    low: float
    high: float
    goal: float | None = None

    @property
    def holds(self):
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.kind == "speedup" else self.ratio <= self.goal


def seconds(call):
    """How long a call takes, and what it returns."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def row(what, other, ours, theirs, kind, goal=None):
    """A row of the seconds of each round."""
    ratios = [b / a if kind == "speedup" else a / b for a, b in zip(ours, theirs, strict=True)]
    return Row(
        what, other, statistics.median(ours), statistics.median(theirs), kind,
        statistics.median(ratios), min(ratios), max(ratios), goal,
    )  # fmt: skip


def compare(what, other, ours, theirs, kind, goal=None, *, rounds=7):
    """Runs both in turn, once to warm up and then ``rounds`` times."""
    ours(), theirs()
    times = [(seconds(ours)[0], seconds(theirs)[0]) for _ in range(rounds)]
    return row(what, other, *zip(*times, strict=True), kind, goal)


def lines(rows):
    """A Markdown table."""
    found = [
        "| measured | against | ours | theirs | ratio (least to greatest) | wanted | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in rows:
        sign = "≥" if r.kind == "speedup" else "≤"
        goal = "" if r.goal is None else f"{sign} {r.goal:g}"
        verdict = {True: "holds", False: "**does not hold**", None: ""}[r.holds]
        found.append(
            f"| {r.what} | {r.other} | {time_of(r.ours)} | {time_of(r.theirs)} | "
            f"{r.ratio:.2f} ({r.low:.2f} to {r.high:.2f}) | {goal} | {verdict} |"
        )
    return found


def time_of(value):
    """Seconds in a readable unit."""
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1 or unit == "µs":
            return f"{value * scale:.3g} {unit}"
    raise AssertionError
