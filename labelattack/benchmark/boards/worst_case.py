"""Worst case: the lowest mAP of a defense over all attacks at one budget, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from labelattack.benchmark.boards.keys import RowKey
from labelattack.benchmark.boards.ranking import Run
from labelattack.benchmark.boards.row import Row, row_of
from labelattack.benchmark.store.record import Record, points

MIN_ATTACKS = 3
_SAME = 0.005  # shares of positives that differ by less are one budget


class WorstCase(NamedTuple):
    """A row that has the worst run of each seed, and these runs for ranking."""

    row: Row
    runs: dict[int, Run]


def budget_of(record: Record) -> str | None:
    """Budget of an attacked run: its cell's, or the share of positives that its rate removed.

    Args:
        record: A record.

    Returns:
        Text such as ``positives=0.4``; None of a run that was not attacked, or whose rate is of
        something else or was not met.
    """
    if record.cell.attack == "none" or record.removal is None:
        return None
    if record.cell.budget is not None:
        return record.cell.budget
    removal = record.removal
    if removal.rate_of != "positives" or removal.requested_rate is None:
        return None
    apart = abs((removal.positives_removed or 0.0) - removal.requested_rate)
    return f"positives={removal.requested_rate:g}" if apart <= _SAME else None


def worst_cases(
    rows: Mapping[RowKey, Row],
    groups: Mapping[RowKey, list[Record]],
    chosen: Mapping[RowKey, dict[int, Record]],
    references: Mapping[str, dict[int, Record]],
) -> list[WorstCase]:
    """Worst cases of a board, for each budget that at least three attacks share.

    Args:
        rows: Its rows.
        groups: All records of each.
        chosen: The run of each seed that validation selects, of each row.
        references: Those of the full-label reference, by variant.

    Returns:
        For each budget and each defense that was run under all of its attacks, a row: of every
        seed that has all attacks, the run with the lowest test mAP. The minimum is taken within a
        seed, so that the noise of one seed is not combined with that of another; budgets in their
        order, falling mAP.
    """
    by_budget: dict[str, dict[tuple[str, str, str], list[RowKey]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for key, best in chosen.items():
        budgets = {budget_of(record) for record in best.values()}
        if len(budgets) == 1 and (budget := budgets.pop()) is not None:
            defense = key.versions.partition(", defense ")[2]
            by_budget[budget][key.defense, defense, key.variant].append(key)
    found: list[WorstCase] = []
    for budget, by_defense in sorted(by_budget.items()):
        every = {
            (key.attack, key.versions.partition(",")[0]) for of in by_defense.values() for key in of
        }
        if len(every) < MIN_ATTACKS:
            continue
        cases = []
        for (_, _, variant), keys in by_defense.items():
            if len(keys) < len(every):
                continue
            name = f"worst of {len(every)} attacks, {budget}"
            case = _worst_case(name, keys, groups, chosen, references.get(variant, {}))
            if case is not None:
                told = rows[keys[0]].variant
                cases.append(case._replace(row=case.row.model_copy(update={"variant": told})))
        found += sorted(cases, key=lambda case: -(case.row.map or 0.0))
    return found


def _worst_case(
    name: str,
    keys: list[RowKey],
    groups: Mapping[RowKey, list[Record]],
    chosen: Mapping[RowKey, dict[int, Record]],
    reference: dict[int, Record],
) -> WorstCase | None:
    """The worst case of a defense; None if no seed has all attacks."""
    seeds = sorted(set.intersection(*(set(chosen[key]) for key in keys)))
    if not seeds:
        return None
    worst = {
        seed: min((chosen[key][seed] for key in keys), key=lambda r: (points(r), r.cell.attack))
        for seed in seeds
    }
    row = row_of([record for key in keys for record in groups[key]], worst, reference, "")
    by = {seed: record.cell.attack for seed, record in worst.items()}
    return WorstCase(
        row.model_copy(
            update={
                "attack": name,
                "worst_of": by,
                "recipes": max(len({r.cell.recipe for r in groups[key]}) for key in keys),
                "requested_rate": None,
            }
        ),
        # Each defense has its own worst attack, so labels differ; seeds are paired all the same.
        {seed: Run(points(record), None) for seed, record in worst.items()},
    )
