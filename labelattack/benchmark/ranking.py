"""Which defenses can be told apart: paired tests between the rows of one attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from labelattack.evaluation.statistics import holm, paired, rank_ranges

MIN_SEEDS = 3
LEVEL = 0.05


class Run(NamedTuple):
    """What one seed of a row came to: test mAP in points, and a hash of its attacked labels."""

    points: float
    labels: str | None


class Comparison(BaseModel):
    """Two defenses under one attack, over the seeds and attacked labels that they share.

    Attributes:
        attack: Resolved spec.
        first: Name of the row with the higher mean.
        second: Name of the other.
        seeds: Seeds that both have.
        difference: Mean of first - second, in points of mAP.
        interval: Half-width of its 95 % Student-t interval, for this pair alone.
        effect_size: Difference in standard deviations of the difference (Cohen's d_z); None where
            it does not vary.
        p: Two-sided p-value of the paired t-test.
        p_corrected: The same by Holm's correction over all pairs under the attack.
        distinct: Whether ``p_corrected`` is below 0.05.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    first: str
    second: str
    seeds: int
    difference: float
    interval: float | None
    effect_size: float | None
    p: float
    p_corrected: float
    distinct: bool


class Ranking(NamedTuple):
    """Comparisons and, in the order of the rows, ranks; or why there are none."""

    comparisons: list[Comparison]
    ranks: list[tuple[int, int] | None]
    reason: str


def rank(attack: str, rows: Sequence[tuple[str, Mapping[int, Run]]]) -> Ranking:
    """Compares every pair of rows of one attack.

    Args:
        attack: Resolved spec.
        rows: Name of each row, and its runs by seed.

    Returns:
        The ranking. There is none if a pair shares fewer than three seeds with the same attacked
        labels: with fewer, next to nothing can be told apart, and what seems to be is chance.
    """
    none: list[tuple[int, int] | None] = [None] * len(rows)
    if len(rows) < 2:
        return Ranking([], none, "nothing to compare")
    pairs = list(combinations(range(len(rows)), 2))
    if (fewest := min(len(runs) for _, runs in rows)) < MIN_SEEDS:
        return Ranking([], none, f"{fewest} seeds, ranks need {MIN_SEEDS}")
    shared = [_shared(rows[a][1], rows[b][1]) for a, b in pairs]
    if (fewest := min(map(len, shared))) < MIN_SEEDS:
        what = "seeds with the same attacked labels in common"
        return Ranking([], none, f"{fewest} {what}, ranks need {MIN_SEEDS}")
    found = []
    for (a, b), seeds in zip(pairs, shared, strict=True):
        one, two = ([rows[row][1][seed].points for seed in seeds] for row in (a, b))
        found.append(paired(one, two))
    corrected = holm([each.p or 0.0 for each in found])
    comparisons, better = [], []
    for (a, b), each, p in zip(pairs, found, corrected, strict=True):
        sign = -1 if each.difference.mean < 0 else 1
        first, second = (a, b)[::sign]
        if p < LEVEL:
            better.append((first, second))
        comparisons.append(
            Comparison(
                attack=attack,
                first=rows[first][0],
                second=rows[second][0],
                seeds=each.difference.seeds,
                difference=abs(each.difference.mean),
                interval=each.difference.half_width,
                effect_size=None if each.effect_size is None else abs(each.effect_size),
                p=each.p or 0.0,
                p_corrected=p,
                distinct=p < LEVEL,
            )
        )
    return Ranking(comparisons, list(rank_ranges(len(rows), better)), "")


def _shared(one: Mapping[int, Run], two: Mapping[int, Run]) -> list[int]:
    """Seeds of both whose labels are not known to differ."""
    return sorted(
        seed
        for seed in one.keys() & two.keys()
        if None in (one[seed].labels, two[seed].labels) or one[seed].labels == two[seed].labels
    )
