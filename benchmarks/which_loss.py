"""Mean and worst case of every loss over the attacks of a catalogue's board.

    python benchmarks/which_loss.py benchmarks/results/catalogue/voc2007.csv

Reads a board as `labelattack show STORE --format csv` writes it, and writes beside it NAME.md with
the tables of docs/which-loss.md and NAME.png, the same as a picture. Mean and worst case are taken
of each seed; ranks are those that paired tests leave open, Holm-corrected over all pairs.
"""

import csv
import re
import sys
from pathlib import Path

import numpy as np

from labelattack import attacks, defenses
from labelattack.benchmark.boards.ranking import Run, rank
from labelattack.benchmark.boards.text import rank_text
from labelattack.metrics.statistics import estimate, rank_agreement
from labelattack.metrics.text import with_interval

PAPER = "pseudo-history"


def read(path):
    """Test mAP by attack, defense and seed; which defenses are oracles, or are told more."""
    maps, notes = {}, {}
    for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
        if row.get("worst_of"):
            continue  # benchmarks/worst_case.py has tables of these
        seeds = dict(part.split("=") for part in row["maps"].split("; "))
        attack = attacks.registry.short(row["attack"])
        defense = defenses.registry.short(row["defense"])
        maps.setdefault(attack, {})[defense] = {int(s): float(v) for s, v in seeds.items()}
        notes.setdefault(defense, row["notes"])
    return maps, notes


def over_attacks(maps, names, summed):
    """For each defense and seed, a summary of its mAPs under the attacks."""
    found = {}
    for name in names:
        seeds = sorted(set.intersection(*(set(of[name]) for of in maps.values())))
        found[name] = {s: summed([of[name][s] for of in maps.values()]) for s in seeds}
    return found


def ranking(by_name):
    rows = [(name, {s: Run(v, None) for s, v in of.items()}) for name, of in by_name.items()]
    found = rank("", rows)
    assert not found.reason, found.reason
    return found


def ranks(by_name):
    return dict(zip(by_name, ranking(by_name).ranks, strict=True))


def text(values):
    of = estimate(list(values.values()))
    return with_interval(of.mean, of.half_width)


def mean(values):
    return sum(values.values()) / len(values)


def table(headings, rows):
    """Markdown; columns of numbers are aligned to the right."""
    numeric = [all(re.match(r"[-+*\d]", row[n]) for row in rows) for n in range(len(headings))]
    lines = [headings, ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def differences(of, name):
    """Difference of one loss from each other, paired by seed; bold where the two are told apart."""
    found = {}
    for pair in rank(
        "", [(n, {s: Run(v, None) for s, v in of[n].items()}) for n in of]
    ).comparisons:
        if name in (pair.first, pair.second):
            other = pair.second if pair.first == name else pair.first
            sign = 1 if pair.first == name else -1
            shown = with_interval(sign * pair.difference, pair.interval, signed=True)
            found[other] = f"**{shown}**" if pair.distinct else shown
    return found


def draw(path, names, columns, values):
    """Differences from the best of each column."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    behind = values - values.max(axis=0)
    figure, axis = plt.subplots(figsize=(1.1 * len(columns) + 3, 0.3 * len(names) + 1.6))
    shades = axis.imshow(np.maximum(behind, -15), cmap="RdYlGn", aspect="auto", vmin=-15, vmax=0)
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = shades.to_rgba(behind[row, column])
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.45
        axis.text(
            column, row, f"{value:.1f}", ha="center", va="center", fontsize=8,
            color="white" if dark else "black",
        )  # fmt: skip
    axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=30, ha="left")
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xlabel("mAP; colour: points behind the best of the column, red from 15", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(path, parts, clean):
    """Prints the tables, and what references learn without attack; writes them beside a CSV."""
    reference = ", ".join(f"`{name}` {text(of)}" for name, of in clean.items())
    write_parts(path, {**parts, "clean": f"Without attack: {reference}.\n"})


def write_parts(path, parts):
    """Prints tables, and writes them into one Markdown file."""
    # The markers let pages of the documentation include one table.
    marked = (
        f"<!-- --8<-- [start:{name}] -->\n{part}<!-- --8<-- [end:{name}] -->\n"
        for name, part in parts.items()
    )
    path.with_suffix(".md").write_text("\n".join(marked), encoding="utf-8")
    print("\n".join(parts.values()))


def main(path):
    maps, notes = read(path)
    clean = maps.pop("none")
    hit = [name for name in next(iter(maps.values())) if all(name in of for of in maps.values())]
    oracles = [name for name in hit if "oracle" in notes[name]]
    names = [name for name in hit if name not in oracles]
    of_mean = over_attacks(maps, hit, lambda each: sum(each) / len(each))
    of_worst = over_attacks(maps, hit, min)
    mean_ranks = ranks({name: of_mean[name] for name in names})
    worst_ranks = ranks({name: of_worst[name] for name in names})
    names.sort(key=lambda name: -mean(of_mean[name]))
    marked = {n: n + " *" * ("told positives per image" in notes[n]) for n in hit}
    rows = []
    for name in names + oracles:
        single = min(maps, key=lambda attack: mean(maps[attack][name]))
        rows.append(
            [
                f"`{name}`" + marked[name].removeprefix(name) + " (oracle)" * (name in oracles),
                text(of_mean[name]),
                "-" if name in oracles else rank_text(mean_ranks[name]),
                text(of_worst[name]),
                "-" if name in oracles else rank_text(worst_ranks[name]),
                single,
            ]
        )
    headings = ["loss", "mean mAP", "rank", "worst mAP", "rank", "worst under"]
    parts = {"means": table(headings, rows)}
    by_attack = {a: {n: of[n] for n in names} for a, of in maps.items()}
    attack_ranks = {attack: ranks(of) for attack, of in by_attack.items()}
    rows = []
    for attack, of in by_attack.items():
        best = sorted(of, key=lambda name: -mean(of[name]))
        first = [name for name in best if attack_ranks[attack][name][0] == 1]
        rows.append(
            [
                attack, text(of[best[0]]), ", ".join(f"`{name}`" for name in first),
                f"{mean(of[best[len(best) // 2]]):.1f}", f"`{best[-1]}` {mean(of[best[-1]]):.1f}",
            ]
        )  # fmt: skip
    headings = ["attack", "best", "not told apart from the best", "median loss", "last"]
    parts["best"] = table(headings, rows)
    columns = list(maps)
    values = np.array([[mean(maps[attack][name]) for attack in columns] for name in names])
    seeds = range(len(next(iter(of_mean.values()))))
    taus = []
    for a, one in enumerate(columns):
        line = [one]
        for b, other in enumerate(columns):
            matrix = np.array([[maps[other][name][s] for name in names] for s in seeds])
            agreement = rank_agreement(list(values[:, a]), matrix)
            line.append("1" if a == b else f"{agreement.tau:+.2f}")
        taus.append(line)
    parts["orders"] = table(["order under", *columns], taus)
    rows = [[f"`{name}`", *(text(maps[attack][name]) for attack in columns)] for name in names]
    parts["attacks"] = table(["loss", *columns], rows)
    apart = {attack: differences(of, PAPER) for attack, of in by_attack.items()}
    mean_apart = differences({name: of_mean[name] for name in names}, PAPER)
    rows = [
        [f"`{name}`", mean_apart[name], *(apart[attack][name] for attack in columns)]
        for name in names
        if name != PAPER
    ]
    parts["paper"] = table([f"`{PAPER}` minus", "mean", *columns], rows)
    write(path, parts, clean)
    shown = [attack.replace(":rate=", " ") for attack in columns]
    draw(path.with_suffix(".png"), [marked[name] for name in names], shown, values)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
