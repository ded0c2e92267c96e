"""Which defenses can be told apart: paired tests between the rows of one attack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from labelattack.metrics.statistics import holm, paired, rank_ranges

MIN_SEEDS = 3
LEVEL = 0.05
ALONE = "nothing to compare"


class Run(NamedTuple):
    """One seed of a row: test mAP in points, and a hash of its attacked labels."""

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
    """Comparisons and, in the order of the rows, ranks; why some rows have none, or all."""

    comparisons: list[Comparison]
    ranks: list[tuple[int, int] | None]
    reason: str


def rank(attack: str, rows: Sequence[tuple[str, Mapping[int, Run]]]) -> Ranking:
    """Compares every pair of rows of one attack.

    Args:
        attack: Resolved spec.
        rows: Name of each row, and its runs by seed.

    Returns:
        The ranking of the rows of which every pair shares at least three seeds with the same
        attacked labels: with fewer, next to nothing can be told apart, and what seems to be is
        chance. Rows that stand in the way are left out, those of most such pairs first.
    """
    ranks: list[tuple[int, int] | None] = [None] * len(rows)
    if len(rows) < 2:
        return Ranking([], ranks, ALONE)
    shared = {(a, b): _shared(rows[a][1], rows[b][1]) for a, b in combinations(range(len(rows)), 2)}
    kept, left_out = _rankable([len(runs) for _, runs in rows], shared)
    if len(kept) < 2:
        fewest = min(len(runs) for _, runs in rows), min(map(len, shared.values()))
        return Ranking([], ranks, _too_few(*fewest))
    comparisons, better = _compared(
        attack, rows, {pair: shared[pair] for pair in combinations(kept, 2)}
    )
    places = {row: place for place, row in enumerate(kept)}
    open_to = rank_ranges(len(kept), [(places[a], places[b]) for a, b in better])
    for row, place in places.items():
        ranks[row] = open_to[place]
    told = ", ".join(f"{rows[row][0]} ({why})" for row, why in sorted(left_out.items()))
    return Ranking(comparisons, ranks, f"left out of the ranks: {told}" if told else "")


def _shared(one: Mapping[int, Run], two: Mapping[int, Run]) -> list[int]:
    """Seeds of both whose labels are not known to differ."""
    return sorted(
        seed
        for seed in one.keys() & two.keys()
        if None in (one[seed].labels, two[seed].labels) or one[seed].labels == two[seed].labels
    )


def _rankable(
    seeds: Sequence[int], shared: Mapping[tuple[int, int], Sequence[int]]
) -> tuple[list[int], dict[int, str]]:
    """Rows of which every pair shares enough seeds, and why each of the others is not among them.

    Args:
        seeds: How many each row has.
        shared: Those that each pair of rows has in common.
    """
    kept, left_out = list(range(len(seeds))), dict[int, str]()
    while short := [pair for pair in combinations(kept, 2) if len(shared[pair]) < MIN_SEEDS]:
        stands_in = Counter(row for pair in short for row in pair)
        worst = max(kept, key=lambda row: (stands_in[row], -seeds[row], row))
        fewest = min(len(shared[pair]) for pair in short if worst in pair)
        left_out[worst] = _too_few(seeds[worst], fewest)
        kept.remove(worst)
    return kept, left_out


def _too_few(seeds: int, shared: int) -> str:
    count, what = seeds, ""
    if seeds >= MIN_SEEDS:
        count, what = shared, " with the same attacked labels in common"
    return f"{count} seed{'s' * (count != 1)}{what}, ranks need {MIN_SEEDS}"


def _compared(
    attack: str,
    rows: Sequence[tuple[str, Mapping[int, Run]]],
    shared: Mapping[tuple[int, int], Sequence[int]],
) -> tuple[list[Comparison], list[tuple[int, int]]]:
    """Paired tests of those pairs over the seeds that they share, and who is better in which."""
    found = {
        pair: paired(*([rows[row][1][seed].points for seed in seeds] for row in pair))
        for pair, seeds in shared.items()
    }
    corrected = holm([each.p or 0.0 for each in found.values()])
    comparisons, better = [], []
    for (pair, each), p in zip(found.items(), corrected, strict=True):
        first, second = pair[::-1] if each.difference.mean < 0 else pair
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
    return comparisons, better
