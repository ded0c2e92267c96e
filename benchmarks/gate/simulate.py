"""How often the gate alarms at noise, and finds what was planted; writes rates.md beside it.

Noise is that of real runs: 64 seeds of the grid of benchmarks/ci.toml, and the same seeds again
with a learning rate one millionth higher, which changes nothing but rounding: it stands for another
processor or another release of a library. Both pools are baselines, made by

    labelattack bench --config benchmarks/ci.toml --seeds 64 --out POOL
    labelattack check POOL --baseline benchmarks/gate/pool.json --update
    labelattack bench --config benchmarks/ci.toml --seeds 64 --lr 0.004000004 --out RERUN
    labelattack check RERUN --baseline benchmarks/gate/rerun.json --update
"""

import argparse
from pathlib import Path

import numpy as np

from labelattack.benchmark.gate.baseline import Baseline, read_baseline
from labelattack.benchmark.gate.check import Check, Limits, compare

HERE = Path(__file__).parent
POOLS = tuple(read_baseline(HERE / f"{name}.json") for name in ("pool", "rerun"))
KINDS = {
    "rerun": "same seeds, rounding differs: paired",
    "anew": "same seeds, nothing in common: paired",
    "others": "other seeds: Welch",
}
DROPS = (1.0, 2.0, 3.0, 5.0)
SEEDS = (3, 5, 10)
NOISE_ALONE = Limits(tolerance=0)


def drawn(pool: Baseline, seeds: list[int], names: list[int], drop: float, row: int) -> Baseline:
    """Some seeds of a pool under other names, without labels, one row worse by ``drop`` points."""
    (board,) = pool.boards
    rows = []
    for number, old in enumerate(board.rows):
        lost = drop if number == row else 0.0
        maps = old.scores["map"]
        scores = {name: maps[s] - lost for name, s in zip(names, seeds, strict=True)}
        rows.append(old.model_copy(update={"labels": {}, "scores": {"map": scores}}))
    return pool.model_copy(update={"boards": [board.model_copy(update={"rows": rows})]})


def simulated(
    kind: str, seeds: int, drop: float, rng: np.random.Generator, limits: Limits
) -> tuple[Check, int]:
    """One check, and the row in which the drop was planted: that of a defense."""
    pool, rerun = POOLS
    (board,) = pool.boards
    defended = [n for n, row in enumerate(board.rows) if row.attack != "none"]
    row = int(rng.choice(defended))
    picked = rng.permutation(sorted(rerun.boards[0].rows[0].scores["map"]))[: 2 * seeds].tolist()
    one, two = picked[:seeds], picked[seeds:]
    names = list(range(seeds))
    then = drawn(pool, one, names, 0.0, row)
    if kind == "rerun":
        now = drawn(rerun, one, names, drop, row)
    elif kind == "anew":
        now = drawn(pool, two, names, drop, row)
    else:
        now = drawn(pool, two, [name + seeds for name in names], drop, row)
    return compare(then, now, limits), row


def alarms(kind: str, seeds: int, count: int, limits: Limits, rng: np.random.Generator) -> int:
    """In how many of ``count`` checks of noise alone anything counts as a regression."""
    found = (simulated(kind, seeds, 0.0, rng, limits)[0] for _ in range(count))
    return sum(check.exit_code == 1 for check in found)


def detections(kind: str, seeds: int, drop: float, count: int, rng: np.random.Generator) -> int:
    """In how many of ``count`` checks the row with the planted drop counts as a regression."""
    found = (simulated(kind, seeds, drop, rng, Limits()) for _ in range(count))
    return sum(check.changes[row].verdict == "regression" for check, row in found)


def rate(hits: int, count: int) -> str:
    """A share with its exact 95 % binomial interval (Clopper and Pearson 1934), in per cent."""
    from scipy.stats import binomtest

    limits = binomtest(hits, count).proportion_ci(0.95)
    return f"{100 * hits / count:.1f} [{100 * limits.low:.1f}, {100 * limits.high:.1f}]"


def scatter() -> list[str]:
    """Standard deviations of the pools."""
    (pool,), (rerun,) = (baseline.boards for baseline in POOLS)
    lines = []
    for old, new in zip(pool.rows, rerun.rows, strict=True):
        both = sorted(new.scores["map"])
        one, two = (np.array([row.scores["map"][seed] for seed in both]) for row in (old, new))
        name = f"{old.defense.partition(':')[0]} under {old.attack.partition(':')[0]}"
        lines.append(
            f"| {name} | {len(one)} | {one.mean():.1f} | {one.std(ddof=1):.2f} | "
            f"{(one - two).std(ddof=1):.2f} | {np.corrcoef(one, two)[0, 1]:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--comparisons", type=int, default=500)
    count = parser.parse_args().comparisons
    lines = [
        f"Of {count:,} simulated checks each, in per cent with exact 95 % binomial intervals: "
        "`python benchmarks/gate/simulate.py`.",
        "",
        "| the two sides | seeds | false alarms, tolerance 0 | false alarms | "
        + " | ".join(f"finds {drop:g}" for drop in DROPS)
        + " |",
        "| --- " * (4 + len(DROPS)) + "|",
    ]
    for kind, words in KINDS.items():
        for seeds in SEEDS:
            rng = np.random.default_rng([seeds, len(kind)])
            found = [alarms(kind, seeds, count, limits, rng) for limits in (NOISE_ALONE, Limits())]
            found += [detections(kind, seeds, drop, count, rng) for drop in DROPS]
            shown = " | ".join(rate(hits, count) for hits in found)
            lines.append(f"| {words} | {seeds} | {shown} |")
    lines += [
        "",
        "The pool, in points of mAP:",
        "",
        "| row | seeds | mean | scatter over seeds | scatter of rerun - run | correlation |",
        "| --- " * 6 + "|",
        *scatter(),
    ]
    (HERE / "rates.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
