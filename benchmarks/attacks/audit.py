"""Precision of an audit's order, and what its labels are worth: the buy-back curve.

    pip install cleanlab
    python benchmarks/attacks/audit.py

On VOC 2007 (LABELATTACK_DATA), with linear heads on the features of efficientnet-lite0; writes
benchmarks/results/attacks/audit.md and audit.png. cleanlab is a reference, not a dependency.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

from labelattack.attacks import registry as attacks
from labelattack.audit.candidates import most_likely
from labelattack.audit.scores import loss_of, out_of_fold
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.metrics.statistics import estimate_all
from labelattack.metrics.text import with_interval
from labelattack.models import registry as models
from labelattack.seeding import permutation, stream_seed
from labelattack.training.compute import Compute
from labelattack.training.cross_fit import usual_recipe
from labelattack.training.hardware import single_thread
from labelattack.training.loop import Fit, predict
from labelattack.training.protocols import registry as protocols
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import LAST_EPOCH, ValidationLabels

DATASET, MODEL = "voc:year=2007", models.resolve("efficientnet-lite0")
ATTACKS = ("targeted:rate=0.4,keep_negatives=false", "random:rate=0.4")
DEFENSES, BUYERS = ("an", "gr", "pseudo-history", "wan"), ("an", "pseudo-history")
SEEDS, TOPS, REVIEWED = range(5), (100, 500, 1000), (0, 250, 500, 1000, 2000, 4000)
ORDERS = ("audit", "cleanlab", "random")
RESULTS = Path(__file__).parents[1] / "results" / "attacks"


def orders(scores, labels, candidates, seed):
    """Candidates in the order of each way, as rows and columns."""
    given = [np.flatnonzero(row).tolist() for row in labels.positives]
    quality = get_label_quality_scores_per_class(given, scores, adjust_pred_probs=True)
    chance = np.empty(scores.size)
    chance[permutation(scores.size, seed, "review")] = np.arange(scores.size)
    by = {"audit": scores, "cleanlab": -quality, "random": chance.reshape(scores.shape)}
    return {name: most_likely(values, candidates, candidates.sum()) for name, values in by.items()}


def reviewed(before, labels, order, count):
    """Labels in which the first entries of an order are known, with their true values."""
    known = labels.observed.copy()
    known[order[0][:count], order[1][:count]] = True
    values = np.where(labels.observed, labels.values, before.values)
    return PartialLabels(values, known)


def retrained(splits, prepared, variants, defense, seed):
    """Test mAP in points of a linear head trained on each of some labels, in their order."""
    trainer, built = protocols.create("linear"), models.create(MODEL)
    val = ValidationLabels(splits.val.labels, splits.val.counted, LAST_EPOCH)
    runs = []
    for labels in variants:
        train = Split(splits.train.images, labels, splits.train.ids)
        head = trainer.build(built, labels.shape[1], seed=stream_seed(seed, "initialisation"))
        loss = loss_of(train, defense, seed)(labels, np.arange(len(labels)))
        recipe = usual_recipe(MODEL)
        runs.append(
            TrainingRun(
                network=head, loss=loss, kind=defense, labels=labels, validation=val,
                recipe=recipe, seed=seed,
            )
        )  # fmt: skip
    fits = trainer.train(runs, prepared, Compute().torch_device)
    found = []
    for run, fit in zip(runs, fits, strict=True):
        assert isinstance(fit, Fit), fit
        run.network.load_state_dict(fit.state)
        scores = predict(run.network, prepared.test, alone=True)
        test = splits.test
        found.append(100 * mean_average_precision(scores, test.labels, scored=test.counted))
    return found


def measure(splits, prepared, precision, bought, attack, seed):
    """Adds precisions and test mAP of one seed to the tables."""
    before = splits.train.partial
    labels = attacks.create(attack)(before, seed=seed).named(before.ids, before.classes)
    candidates = before.observed & labels.hidden  # a reviewer can tell what is known of these
    train = Split(splits.train.images, labels, before.ids)
    for defense in DEFENSES:
        scores = out_of_fold(train, defense, MODEL, seed=seed)
        ranked = orders(scores, labels, candidates, seed)
        for order, (rows, columns) in ranked.items():
            hits = before.values[rows, columns]
            for top in TOPS:
                precision[attack, order, defense, top].append(100 * hits[:top].mean())
        if defense not in BUYERS:
            continue
        wanted = [(order, count) for order in ORDERS for count in REVIEWED[1:]]
        change = partial(reviewed, before, labels)
        variants = [change(ranked[order], count) for order, count in wanted]
        nothing, everything, *maps = retrained(
            splits, prepared, [labels, before, *variants], defense, seed
        )
        for key, value in zip(wanted, maps, strict=True):
            bought[attack, defense, *key].append(value)
        bought[attack, defense, "all", 0].append(everything)
        for order in ORDERS:
            bought[attack, defense, order, 0].append(nothing)


def text(values):
    return with_interval(*estimate_all(values), digits=1)


def markdown(precision, bought, shares):
    lines = [
        "## Figures on VOC 2007",
        "",
        "`python benchmarks/attacks/audit.py`. Out-of-fold scores of linear heads on "
        "efficientnet-lite0, 5 folds, 10 epochs; means over 5 seeds ± half a 95 % t-interval, in "
        "points. Candidates are hidden entries whose true label is known.",
    ]
    for attack in ATTACKS:
        hidden, positive = shares[attack]
        lines += ["", f"### `{attack}`", ""]
        lines += [
            f"{hidden:,.0f} candidates, {100 * positive / hidden:.1f} % of them positive.",
            "",
        ]
        lines += ["Precision of the first entries:", ""]
        lines += ["| defense | order | " + " | ".join(f"first {top:,}" for top in TOPS) + " |"]
        lines += ["|---|---|" + "---|" * len(TOPS)]
        for defense in DEFENSES:
            for order in ORDERS:
                cells = [text(precision[attack, order, defense, top]) for top in TOPS]
                lines.append(f"| `{defense}` | {order} | " + " | ".join(cells) + " |")
        lines += ["", "Test mAP after a number of entries was reviewed:", ""]
        heads = " | ".join(f"{count:,}" for count in REVIEWED)
        lines += [f"| defense | order | {heads} | nothing hidden |"]
        lines += ["|---|---|" + "---|" * (len(REVIEWED) + 1)]
        for defense in BUYERS:
            for order in ORDERS:
                cells = [text(bought[attack, defense, order, count]) for count in REVIEWED]
                cells.append(text(bought[attack, defense, "all", 0]))
                lines.append(f"| `{defense}` | {order} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(bought, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    grid = {"figsize": (10, 7), "sharex": True, "sharey": "row", "layout": "constrained"}
    figure, axes = plt.subplots(len(ATTACKS), len(BUYERS), **grid)
    for row, attack in zip(axes, ATTACKS, strict=True):
        for ax, defense in zip(row, BUYERS, strict=True):
            for order in ORDERS:
                found = [estimate_all(bought[attack, defense, order, k]) for k in REVIEWED]
                means, halves = zip(*found, strict=True)
                ax.errorbar(REVIEWED, means, halves, label=order, marker="o", ms=3, capsize=2)
            complete, _ = estimate_all(bought[attack, defense, "all", 0])
            ax.axhline(complete, color="grey", ls=":", label="nothing hidden")
            ax.set_title(f"{defense}, {attack}", fontsize=9)
            ax.set_xlabel("entries reviewed")
            ax.set_ylabel("test mAP")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    single_thread()
    splits = datasets.create(DATASET).load()
    prepared = protocols.create("linear").prepare(splits, MODEL, Compute())
    precision, bought, shares = defaultdict(list), defaultdict(list), {}
    for attack in ATTACKS:
        for seed in SEEDS:
            measure(splits, prepared, precision, bought, attack, seed)
            print(attack, seed, flush=True)
        left = [attacks.create(attack)(splits.train.partial, seed=seed) for seed in SEEDS]
        before = splits.train.partial
        hidden = [before.known - labels.known for labels in left]
        gone = [before.known_positives - labels.known_positives for labels in left]
        shares[attack] = np.mean(hidden), np.mean(gone)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "audit.md").write_text(markdown(precision, bought, shares), encoding="utf-8")
    draw(bought, RESULTS / "audit.png")


if __name__ == "__main__":
    main()
