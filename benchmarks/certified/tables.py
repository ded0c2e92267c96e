"""Tables, picture and numbers of docs/certified.md, from stores.

    python benchmarks/certified/tables.py VOC ATTACKED LOSSES DIGITS

The arguments are stores of the commands in docs/certified.md, in this order. Writes voc2007.md,
losses.md, digits.md, voc2007.png and, with every certificate, curves.csv into
benchmarks/results/certified/.
"""

import csv
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from which_loss import table, write_parts

from labelattack import attacks, defenses
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.store.store import RecordStore
from labelattack.measures._d_score.plots import empty_figure, save_figure
from labelattack.metrics.text import with_interval

FOLDER = Path(__file__).resolve().parents[1] / "results" / "certified"
CHANGED = 1, 2, 5, 10, 20, 50
TARGETED = "targeted:rate=0.4"
KINDS = {
    "unlabelled-images": "images drawn lose all their labels",
    "greedy": "greedy, 20, 40 and 80 % of the positives",
}


def rows_of(store):
    """Rows of boards by training images, parts, attack and defense, as short as boards write them.

    0 training images stands for all there are.
    """
    found = {}
    for board in boards(RecordStore(Path(store), create=False)):
        parts = int((re.search(r"parts=(\d+)", board.protocol) or [0, "1"])[1])
        size = int((re.search(r"train=(\d+)", board.dataset) or [0, "0"])[1])
        for row in board.model_dump(mode="json")["rows"]:
            names = attacks.registry.short(row["attack"]), defenses.registry.short(row["defense"])
            found[size, parts, *names] = row
    return found


def curve(row):
    """Certified mAP of a row in points, with half-widths, for 0, 1, ... images."""
    of = row["measures"]["certified"]
    return list(zip(of["curve"], of["intervals"], strict=True))


def cells(row):
    """Test mAP, and certified mAP for some numbers of images; a dash where nothing is certain."""
    values = curve(row)
    certain = [with_interval(*values[r]) if r < len(values) - 1 else "-" for r in CHANGED]
    return [with_interval(row["map"], row["interval"]), *certain]


def half(row):
    """Images to which half of what was learned is certain."""
    of = row["measures"]["certified"]["metrics"]["certified_half"]
    return with_interval(of["mean"], of["interval"])


def filled(headings, lines):
    """A table without the columns that have dashes alone."""
    kept = [n for n in range(len(headings)) if any(line[n] != "-" for line in lines)]
    return table([headings[n] for n in kept], [[line[n] for n in kept] for line in lines])


def numbers_of_parts(rows, size=0):
    return sorted({parts for own, parts, *_ in rows if own == size and parts > 1})


def by_parts(rows, defense, attack, size=0):
    """A row for each number of parts, after that of one network on all images."""
    lines = []
    for parts in [1, *numbers_of_parts(rows, size)]:
        row = rows.get((size, parts, attack, defense))
        if row is None:
            continue
        if parts == 1:
            rest = ["-"] * (len(CHANGED) + 1)
            lines.append(["all", with_interval(row["map"], row["interval"]), *rest])
        else:
            lines.append([str(parts), *cells(row), half(row)])
    return filled(["parts", "mAP", *(f"r = {r}" for r in CHANGED), "half to"], lines)


def by_loss(rows, parts, attack):
    """A row for each loss, the largest certified area first."""
    found = {d: row for (_, p, a, d), row in rows.items() if (p, a) == (parts, attack)}
    found.pop("bce", None)

    def area(name):
        return found[name]["measures"]["certified"]["metrics"]["certified_area"]["mean"] or 0.0

    ordered = sorted(found, key=area, reverse=True)
    lines = [[f"`{name}`", *cells(found[name]), half(found[name])] for name in ordered]
    return filled(["loss", "mAP", *(f"r = {r}" for r in CHANGED), "half to"], lines)


def write_curves(stores):
    """Every certificate in points, with half of its 95 % interval over seeds."""
    with (FOLDER / "curves.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(
            ["store", "training_images", "parts", "attack", "loss", "images_changed", "map", "half"]
        )
        for name, rows in stores.items():
            for key, row in rows.items():
                values = curve(row) if key[1] > 1 else [(row["map"], row["interval"])]
                for changed, pair in enumerate(values):
                    lines.writerow([name, *key, changed, *(f"{value:.3f}" for value in pair)])


def draw(rows, attacked):
    """Certified mAP of `an` by number of parts, and of five losses with 50 parts."""
    figure = empty_figure(11, 8)
    panels = figure.subplots(2, 2, sharey=True).flatten()
    for panel, attack in zip(panels, ("none", TARGETED), strict=False):
        for number, parts in enumerate(numbers_of_parts(rows)):
            line(panel, f"C{number}", f"{parts} parts", rows[0, parts, attack, "an"])
        panel.set_title("an, " + ("labels as they are" if attack == "none" else attack), size=10)
    losses = sorted({d for _, p, a, d in rows if (p, a) == (50, TARGETED)})
    for number, name in enumerate(losses):
        line(panels[2], f"C{number}", name, rows[0, 50, TARGETED, name])
    panels[2].set_title(f"50 parts, {TARGETED}", size=10)
    chance = rows[0, 50, "none", "an"]["measures"]["certified"]["chance"]
    line(panels[3], "C0", "an, certified", attacked[0, 50, "none", "an"])
    for number, (kind, told) in enumerate(KINDS.items(), 1):
        images, maps, halves = zip(*points_of(attacked, kind), strict=True)
        panels[3].errorbar(
            images, maps, halves, marker="o", markersize=4, color=f"C{number}", label=f"an, {told}"
        )
    panels[3].set_title("50 parts: certificate and attack", size=10)
    for panel in panels:
        panel.axhline(chance, color="0.5", linestyle=":", linewidth=1)
        panel.set_xscale("symlog", linthresh=1)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlim(left=0)
        panel.set_ylim(0, 90)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, loc="center left" if panel is panels[3] else "upper right")
        panel.set_xlabel("training images whose labels are changed")
    for panel in panels[::2]:
        panel.set_ylabel("certified test mAP (points)")
    save_figure(figure, FOLDER / "voc2007.png")


def points_of(rows, kind):
    """Images changed, test mAP and its half-width of an attack at each rate."""
    return sorted(
        (row["measures"]["certified"]["images_changed"], row["map"], row["interval"])
        for (_, _, attack, loss), row in rows.items()
        if loss == "an" and attack.partition(":")[0] == kind
    )


def line(panel, colour, label, row):
    values, halves = zip(*curve(row), strict=True)
    halves = [each or 0.0 for each in halves]
    panel.plot(range(len(values)), values, color=colour, label=label)
    low, high = ([v + s * h for v, h in zip(values, halves, strict=True)] for s in (-1, 1))
    panel.fill_between(range(len(values)), low, high, color=colour, alpha=0.2, linewidth=0)


def main(*folders):
    names = "voc2007", "attacked", "losses", "digits"
    stores = {name: rows_of(folder) for name, folder in zip(names, folders, strict=True)}
    write_curves(stores)
    rows = stores["voc2007"]
    draw(rows, stores["attacked"])
    write_parts(
        FOLDER / "voc2007.md",
        {
            "full": by_parts(rows, "an", "none"),
            "targeted": by_parts(rows, "an", TARGETED),
            "losses-50": by_loss(rows, 50, TARGETED),
            "losses-250": by_loss(rows, 250, TARGETED),
        },
    )
    labels = {"targeted": TARGETED, "single": "single-positive"}
    write_parts(
        FOLDER / "losses.md",
        {name: by_loss(stores["losses"], 50, attack) for name, attack in labels.items()},
    )
    rows = stores["digits"]
    sizes = sorted({size for size, *_ in rows})
    write_parts(
        FOLDER / "digits.md",
        {f"train-{size}": by_parts(rows, "an", "none", size) for size in sizes},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
