"""Reliability flags of a row."""

from __future__ import annotations

from collections.abc import Sequence

from labelattack.benchmark.boards.ranking import MIN_SEEDS
from labelattack.benchmark.store.record import Record

FAR_OFF = 4.0
"""Factor by which mean prediction and prevalence may differ."""


def reliability_warnings(group: Sequence[Record], chosen: Sequence[Record]) -> list[str]:
    """Reasons why a row is unreliable.

    Args:
        group: All its records, of every recipe and seed.
        chosen: Those that validation chose, one a seed.

    Returns:
        The reasons; empty if there is none.
    """
    found = []
    if len(chosen) < MIN_SEEDS:
        found.append(f"{len(chosen)} seeds, fewer than {MIN_SEEDS}")
    diverged = sum(r.reason.startswith("TrainingDivergedError") for r in group)
    if diverged:
        found.append(f"training diverged in {diverged} of {len(group)} runs")
    undefined = sum(r.val_map is None for r in chosen)
    if undefined:
        recipes = len({r.cell.recipe for r in group})
        found.append(
            f"validation mAP is undefined in {undefined} of {len(chosen)} seeds: the last epoch"
            f"{f' and the first of {recipes} recipes are' if recipes > 1 else ' is'} taken, not "
            "chosen"
        )
    if len(tried := {r.cell.recipe for r in group}) > 1 and group[0].cell.selection == "last":
        found.append(
            f"one of {len(tried)} recipes is shown, by validation mAP, though nothing is to be "
            "selected; a certificate does not cover that choice"
        )
    tests = [r.test for r in chosen if r.test is not None]
    constant = sum(t.constant_classes == len(t.per_class) > 0 for t in tests)
    if constant:
        found.append(f"every prediction is constant in {constant} of {len(tests)} seeds")
    pairs = [
        (t.mean_prediction, t.prevalence)
        for t in tests
        if t.mean_prediction is not None and t.prevalence
    ]
    if pairs:
        predicted, prevalence = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        if not 1 / FAR_OFF <= predicted / prevalence <= FAR_OFF:
            found.append(
                f"mean prediction {predicted:.3f} is far off the prevalence {prevalence:.3f}"
            )
    return found
