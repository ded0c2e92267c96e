"""Worst case of every loss over attacks at one budget, and what uniform removal says of it.

    python benchmarks/worst_case.py benchmarks/results/catalogue/voc2007-worst.csv

Reads a board of one budget as `labelattack show STORE --format csv` writes it, and writes beside it
NAME.md with the tables of docs/which-loss.md and NAME.png, all mAPs as a picture. Minima are taken
within each seed, ranks are those that paired tests leave open, Holm-corrected over all pairs.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from which_loss import draw, mean, over_attacks, ranks, table, text, write

from labelattack import attacks, defenses
from labelattack.benchmark.boards.text import rank_text
from labelattack.metrics.statistics import paired, rank_agreement
from labelattack.metrics.text import with_interval

UNIFORM = "targeted"
WHOLE_CLASSES = ("class-conditional:setting=wipe-out", "greedy")
"""Attacks that leave some classes without any positive; the other ones spare a few of each."""


def read(path):
    """Test mAP by attack, defense and seed; notes of each defense; the board's own worst cases."""
    maps, notes, worst, unreliable = {}, {}, {}, set()
    for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
        values = dict(part.split("=", 1) for part in row["maps"].split("; ") if part)
        values = {int(seed): float(value) for seed, value in values.items()}
        defense = defenses.registry.short(row["defense"])
        if row["worst_of"]:
            under = dict(part.split("=", 1) for part in row["worst_of"].split("; "))
            by = Counter(attacks.registry.short(spec, keep=()) for spec in under.values())
            worst[defense] = values, by
            notes[defense] = row["notes"]
            if row["unreliable"]:
                unreliable.add(defense)
        else:
            maps.setdefault(attacks.registry.short(row["attack"], keep=()), {})[defense] = values
    return maps, notes, worst, unreliable


def apart(first, second):
    """Paired difference over the seeds that both have, as text; whether its interval excludes 0."""
    seeds = sorted(first.keys() & second.keys())
    found = paired([first[s] for s in seeds], [second[s] for s in seeds]).difference
    shown = with_interval(found.mean, found.half_width, signed=True)
    return shown, found.half_width is not None and abs(found.mean) > found.half_width


def agreement(names, first, second):
    """Kendall's tau of the order under one condition with that under another, with its interval."""
    seeds = sorted(set.intersection(*(set(second[name]) for name in names)))
    measured = np.array([[second[name][s] for name in names] for s in seeds])
    found = rank_agreement([mean(first[name]) for name in names], measured)
    low, high = found.interval or (np.nan, np.nan)
    return f"{found.tau:+.2f} ({low:+.2f} to {high:+.2f})"


def main(path):
    maps, notes, worst, unreliable = read(path)
    clean = maps.pop("none")
    names = [name for name in worst if "oracle" not in notes[name]]
    oracles = [name for name in worst if name not in names]
    spread = {attack: of for attack, of in maps.items() if attack not in WHOLE_CLASSES}
    of_worst = {name: worst[name][0] for name in worst}
    of_spread = over_attacks(spread, [*names, *oracles], min)
    uniform = maps[UNIFORM]
    names.sort(key=lambda name: -mean(of_worst[name]))
    worst_ranks, spread_ranks, uniform_ranks = (
        ranks({name: of[name] for name in names}) for of in (of_worst, of_spread, uniform)
    )
    rows, excluded = [], []
    for name in [*names, *oracles]:
        cost, sure = apart(of_worst[name], uniform[name])
        if name in names and sure:
            excluded.append(name)
        open_to = (of.get(name) for of in (worst_ranks, spread_ranks, uniform_ranks))
        one, two, three = ("-" if rank is None else rank_text(rank) for rank in open_to)
        under = Counter(min(spread, key=lambda a, n=name, s=s: spread[a][n][s])
                        for s in of_spread[name])  # fmt: skip
        mark = " !" * (name in unreliable) + " (oracle)" * (name in oracles)
        rows.append(
            [
                f"`{name}`{mark}", text(of_worst[name]), one, told(worst[name][1]), cost,
                text(of_spread[name]), two, told(under), text(uniform[name]), three,
            ]
        )  # fmt: skip
    headings = [
        "loss", "worst mAP", "rank", "worst under", "minus uniform",
        "worst, no whole class", "rank", "worst under", "uniform", "rank",
    ]  # fmt: skip
    parts = {"worst": table(headings, rows)}
    parts["costs"] = (
        f"Of {len(names)} losses, the worst attack costs {len(excluded)} more than uniform removal "
        "with a paired interval over seeds that excludes zero.\n"
    )
    trusted = [name for name in names if name not in unreliable]
    lines = [
        [what, *(agreement(some, uniform, of) for some in (names, trusted))]
        for what, of in (
            ("worst case", of_worst), ("worst case, no whole class", of_spread),
            *((attack, of) for attack, of in maps.items() if attack != UNIFORM),
        )
    ]  # fmt: skip
    parts["orders"] = table(
        ["order under uniform removal with that under", f"all {len(names)} losses",
         f"{len(trusted)} reliable ones"], lines,
    )  # fmt: skip
    columns = list(maps)
    lines = []
    for attack, of in maps.items():
        values = [mean(of[name]) for name in trusted]
        costs = [mean(uniform[name]) - mean(of[name]) for name in trusted]
        best = max(trusted, key=lambda name, of=of: mean(of[name]))
        lines.append(
            [
                f"`{attack}`", f"{np.median(values):.1f}", f"{np.median(costs):+.1f}",
                f"`{best}` {text(of[best])}",
            ]
        )  # fmt: skip
    lines.sort(key=lambda line: float(line[1]))
    parts["attacks"] = table(["attack", "median mAP", "median cost against uniform", "best"], lines)
    write(path, parts, clean)
    values = np.array([[mean(maps[a][name]) for a in columns] for name in names])
    shown = [attack.replace("class-conditional:setting=", "class: ") for attack in columns]
    draw(path.with_suffix(".png"), names, shown, values)


def told(counts):
    """Attacks by how often they did most harm."""
    seeds = sum(counts.values())
    return ", ".join(f"{a}" + f" ({n})" * (n < seeds) for a, n in counts.most_common())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
