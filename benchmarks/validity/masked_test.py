"""Does masked mAP measure mAP where test labels are missing? On VOC 2007, one linear head.

A share of the known test entries is hidden at random, 20 draws a share. Masked mAP counts what
is left; "unknown as negative" counts hidden entries as negatives, as code without a mask does. The
last line hides positives alone: there the mask is not random, and masked mAP does not measure mAP.

    LABELATTACK_DATA=FOLDER python benchmarks/validity/masked_test.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from labelattack import attacks
from labelattack.benchmark.execution.context import load, rebuild, trained_run
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.plan.grid import Grid
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split
from labelattack.measures.clean_scores import score
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.metrics.statistics import estimate
from labelattack.training.compute import Compute
from labelattack.training.hardware import single_thread

DRAWS, RESAMPLES = 20, 200
RATES = (0.2, 0.4, 0.6, 0.8, 0.9)


def scores_of(dataset: str, model: str):
    """Test split, class names, and test scores of one head trained on clean labels."""
    splits = load(str(datasets.resolve(dataset)))
    grid = Grid(
        dataset=dataset, model=model, protocol="linear", attacks=("none",), defenses=("bce",),
        seeds=(0,), epochs=10, lrs=(1e-3,), batch_sizes=(16,), reference=False,
    )  # fmt: skip
    (cell,) = grid.cells(splits.fingerprint)
    state = {}
    (record,) = run_cells([cell], keep=lambda _, weights: state.update(weights))
    assert record.status == "done", record.reason
    head = rebuild(cell.dataset, cell.model, cell.protocol, state)
    run = trained_run(cell.dataset, cell.model, head, Compute(), protocol=cell.protocol)
    return splits.test, splits.classes, run.scores


def measure(test, classes, scores, attack, draws):
    """mAP of each draw in points: masked, and with unknown entries as negatives."""
    full = 100 * mean_average_precision(scores, test.labels, scored=test.counted)
    masked, negative, inside, undefined = [], [], 0, []
    for seed in range(draws):
        left = attacks.create(attack)(test.partial, seed=seed)
        found = score(scores, Split(test.images, left, test.ids), classes, RESAMPLES)
        masked.append(100 * found.map)
        undefined.append(found.undefined_classes)
        low, high = found.map_interval or (np.nan, np.nan)
        inside += 100 * low <= full <= 100 * high
        negative.append(100 * mean_average_precision(scores, left.values, scored=test.counted))
    summaries = {}
    for name, values in (("masked", masked), ("negative", negative)):
        mean = estimate(values)
        summaries[name] = {
            "mean": mean.mean, "half_width": mean.half_width, "sd": float(np.std(values, ddof=1)),
        }  # fmt: skip
    return {
        "attack": attack, "draws": draws, "full": full, **summaries,
        "own_interval_holds": int(inside), "undefined_classes": max(undefined),
    }  # fmt: skip


def table(rows):
    lines = [
        "| hidden | masked mAP | its spread | own interval holds | unknown as negative |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        masked, negative = row["masked"], row["negative"]
        lines.append(
            f"| `{row['attack']}` | {masked['mean']:.2f} ± {masked['half_width']:.2f} "
            f"({masked['mean'] - row['full']:+.2f}) | {masked['sd']:.2f} | "
            f"{row['own_interval_holds']} of {row['draws']} | {negative['mean']:.2f} ± "
            f"{negative['half_width']:.2f} ({negative['mean'] - row['full']:+.2f}) |"
        )
    return "\n".join(lines)


def draw(rows, path):
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    panel = figure.subplots()
    shares = [100 * float(row["attack"].partition("=")[2]) for row in rows]
    panel.axhline(rows[0]["full"], color="0.4", linestyle="--", linewidth=1, label="all labels")
    for name, label, mark in (("masked", "masked", "o"), ("negative", "unknown as negative", "s")):
        means, sds = ([row[name][key] for row in rows] for key in ("mean", "sd"))
        panel.errorbar(shares, means, [2 * sd for sd in sds], marker=mark, capsize=3, label=label)
    panel.set_xlabel("test entries hidden at random (%)")
    panel.set_ylabel("test mAP (points), ± 2 standard deviations")
    panel.set_ylim(0, 100)
    panel.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="voc:year=2007")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--out", type=Path, help="folder for results and plot; default: none")
    options = parser.parse_args()
    single_thread()
    test, classes, scores = scores_of(options.dataset, options.model)
    rows = [measure(test, classes, scores, f"random:rate={rate}", options.draws) for rate in RATES]
    odd = measure(test, classes, scores, "targeted:rate=0.6,keep_negatives=true", options.draws)
    print(f"mAP on all {int(test.partial.known):,} known test labels: {rows[0]['full']:.2f}\n")
    print(table([*rows, odd]))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([*rows, odd], indent=1) + "\n"
        (options.out / "masked_test.json").write_text(text, encoding="utf-8")
        draw(rows, options.out / "masked_test.png")


if __name__ == "__main__":
    main()
