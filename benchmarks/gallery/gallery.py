"""Pictures of the documentation, in docs/gallery/.

    python benchmarks/gallery/gallery.py

Label matrices are those of VOC 2007 under $LABELATTACK_DATA; curves and the heat map are drawn from
the committed boards in benchmarks/results/catalogue/; D-Score maps are of a short run on digits. A
minute and a half on two cores.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copyfile

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap

import labelattack
from labelattack import attacks, datasets, defenses
from labelattack.labels.picture import COLOURS

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "gallery"
BOARDS = ROOT / "benchmarks" / "results" / "catalogue"
SHOWN = (
    "none", "targeted:rate=0.4", "single-positive", "random:rate=0.4", "class-conditional:rate=0.4",
    "co-occurrence:rate=0.4", "unlabelled-images:rate=0.4", "annotator-pool:rate=0.4",
)  # fmt: skip
LOSSES = ("gr", "an-ls", "hill", "an", "epr", "role")
IMAGES = 150


def label_matrices():
    """The same labels under several attacks: images across, classes down."""
    labels = datasets.create("voc:year=2007").load().train.partial
    crowded = np.argsort(-labels.per_image("positives"), kind="stable")[: 3 * IMAGES : 3]
    by_class = np.argsort(-labels.per_class("positives"), kind="stable")
    figure, panels = plt.subplots(2, 4, figsize=(13, 4.6), layout="constrained")
    for panel, spec in zip(panels.flat, SHOWN, strict=True):
        left = labelattack.attack(labels, spec, seed=0).take(crowded)
        states = np.where(left.observed, np.where(left.values, 0, 1), 2)[:, by_class].T
        panel.imshow(
            states, cmap=ListedColormap(list(COLOURS.values())), vmin=0, vmax=2, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        panel.set(title=spec, xticks=[], yticks=[])
    panels[0, 0].set_ylabel("20 classes")
    panels[1, 0].set_ylabel("20 classes")
    for panel in panels[1]:
        panel.set_xlabel(f"{IMAGES} images of VOC 2007")
    marks = [
        mpl.patches.Patch(facecolor=c, edgecolor="#767676", label=n) for n, c in COLOURS.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False)
    save(figure, "attacks.png")


def rows_of(board):
    """Rows of a committed board."""
    with (BOARDS / board).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def curves():
    """mAP of some losses against the share of labels removed."""
    rows = rows_of("voc2007.csv")
    full = next(float(r["map"]) for r in rows if r["defense"] == "bce")
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, attack in zip(panels, ("targeted", "random"), strict=True):
        panel.axhline(full, color="black", linewidth=1, linestyle=":", label="bce, all labels")
        for loss in LOSSES:
            points = sorted(
                (float(r["requested_rate"]), float(r["map"]), float(r["interval"]))
                for r in rows
                if r["attack"].startswith(f"{attack}:") and r["defense"].split(":")[0] == loss
            )
            rates, means, widths = np.array(points).T
            (line,) = panel.plot(rates, means, marker="o", markersize=3, label=loss)
            panel.fill_between(
                rates, means - widths, means + widths, alpha=0.2, color=line.get_color()
            )
        panel.set(title=attack, xlabel="share removed")
    panels[0].set_ylabel("mAP on clean test labels")
    panels[1].legend(frameon=False, fontsize=8)
    save(figure, "curves.png")


def worst_case():
    """mAP of every loss under every attack at one budget, the worst case first."""
    rows = [r for r in rows_of("voc2007-worst.csv") if r["attack"] != "none"]
    short = {
        r["attack"]: "worst case" if r["worst_of"] else attacks.registry.short(r["attack"], keep=())
        for r in rows
    }
    maps = {
        (short[r["attack"]], defenses.registry.short(r["defense"])): float(r["map"]) for r in rows
    }
    columns = sorted({attack for attack, _ in maps})
    columns.sort(key=lambda attack: (attack != "worst case", mean_of(maps, attack)))
    names = sorted({name for _, name in maps}, key=lambda name: -maps.get(("worst case", name), 0))
    values = np.array([[maps.get((attack, name), np.nan) for attack in columns] for name in names])
    figure, panel = plt.subplots(figsize=(11, 9), layout="constrained")
    drawn = panel.imshow(values, cmap="viridis", aspect="auto")
    panel.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > 0.6 * np.nanmax(values) else "white"
            panel.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour
            )
    figure.colorbar(drawn, label="mAP on clean test labels", fraction=0.03)
    panel.set_title("40 % of the positives removed in each column, VOC 2007, linear heads")
    save(figure, "worst-case.png")


def mean_of(maps, attack):
    """Mean over losses under an attack."""
    return float(np.mean([value for (other, _), value in maps.items() if other == attack]))


def d_score_maps():
    """Where two models look: pictures of labelattack score."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        labelattack.bench(
            attacks=["targeted"], defenses=["pseudo-history"], seeds=1, lrs=[0.004],
            batch_sizes=[16], out=store,
        )  # fmt: skip
        command = [sys.executable, "-m", "labelattack", "score", str(store)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        pictures = list((store / "pictures").glob("*.png"))
        for kind in ("look", "deletion"):
            found = next(p for p in pictures if p.name.startswith("pseudo") and kind in p.name)
            copyfile(found, OUT / f"d-score-{kind}.png")


def save(figure, name):
    """Writes a picture."""
    figure.savefig(OUT / name, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for draw in (label_matrices, curves, worst_case, d_score_maps):
        draw()
        print(draw.__name__)
