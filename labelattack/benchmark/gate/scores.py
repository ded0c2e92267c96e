"""Scores of a row then and now, and how far they are told from noise."""

from __future__ import annotations

from typing import NamedTuple

from labelattack.benchmark.gate.baseline import BaselineRow
from labelattack.metrics.statistics import paired


class Sides(NamedTuple):
    """Scores then and now; of the same seeds in the same order if ``same``."""

    old: list[float]
    new: list[float]
    same: bool

    @property
    def equal(self) -> bool:
        """Whether they are the same scores."""
        return self.same and self.old == self.new


def sides_of(before: BaselineRow, after: BaselineRow, measure: str) -> Sides:
    """Seeds are the same if one side has no others and no attacked labels are known to differ.

    Those of another version of the attack must be known to be equal.
    """
    old, new = before.scores[measure], after.scores[measure]
    both = sorted(old.keys() & new.keys())
    known = before.labels.keys() & after.labels.keys() & set(both)
    alike = all(before.labels[seed] == after.labels[seed] for seed in known)
    if before.attack_version != after.attack_version:
        alike = alike and len(known) == len(both)
    if alike and len(both) == min(len(old), len(new)):
        return Sides([old[seed] for seed in both], [new[seed] for seed in both], True)
    return Sides(list(old.values()), list(new.values()), False)


def two_sided(sides: Sides) -> tuple[float, float]:
    """Half-width of the difference's 95 % interval, and its two-sided p-value."""
    if sides.same:
        found = paired(sides.old, sides.new)
        return found.difference.half_width or 0.0, 1.0 if found.p is None else found.p
    if len({*sides.old}) == len({*sides.new}) == 1:  # neither scatters: any difference is certain
        return 0.0, float(sides.old[0] == sides.new[0])
    from scipy.stats import ttest_ind

    test = ttest_ind(sides.old, sides.new, equal_var=False)
    limits = test.confidence_interval(0.95)
    return float(limits.high - limits.low) / 2, float(test.pvalue)
