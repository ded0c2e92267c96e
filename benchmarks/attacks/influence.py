"""Error of the greedy attack's influence estimates, its seconds and its damage, on VOC 2007.

Random positives are removed one at a time and the surrogate of their class is fitted again, before
the first round and after many: the growth of the held-out loss is compared with its estimate.
Writes benchmarks/results/attacks/influence.md.

    LABELATTACK_DATA=FOLDER python benchmarks/attacks/influence.py
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from labelattack import attacks
from labelattack.attacks.influence import fit, influences, inputs_of, problem_of, removal_order
from labelattack.attacks.knowledge import HeldOut, Knowledge
from labelattack.datasets import registry as datasets
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.models import registry as models
from labelattack.seeding import generator, random_keys, raw_words
from labelattack.training.feature_cache import features

RESULT = Path(__file__).parents[1] / "results" / "attacks" / "influence.md"
L2, DIMENSIONS, ROUNDS = 10.0, 256, 50
HEAD = (
    "| objective | removed before | rank correlation | slope | median relative error | "
    "same sign |\n|---|---|---|---|---|---|\n"
)


def compare(problem, labels, removed, samples):
    """Estimated and true growth of the held-out loss for random positives that are left."""
    rows, columns = labels.positive_entries()
    left = np.setdiff1d(np.arange(len(rows)), removed)
    chosen = left[np.argsort(random_keys(generator(0, "influence"), len(left)))[:samples]]
    targets = np.zeros(labels.shape, bool)
    targets[rows[left], columns[left]] = True
    estimated, true = [], []
    for column in np.unique(columns[chosen]):
        damage = problem.damages[column]
        fitted = fit(problem.inputs, targets[:, column], problem.l2)
        before, _ = damage.of(fitted.weights)
        some = rows[chosen[columns[chosen] == column]]
        estimated += influences(problem.inputs, some, fitted, damage).tolist()
        for row in some:
            moved = targets[:, column].copy()
            moved[row] = False
            again = fit(problem.inputs, moved, problem.l2, fitted)
            true.append(damage.of(again.weights)[0] - before)
    return np.array(estimated), np.array(true)


def line(objective, before, estimated, true):
    """A row of the table."""
    slope = (estimated @ true) / (estimated @ estimated)
    error = np.median(np.abs(estimated - true) / np.abs(true))
    sign = np.mean(np.sign(estimated) == np.sign(true))
    rank = spearmanr(estimated, true).statistic
    return f"| {objective} | {before} | {rank:.3f} | {slope:.2f} | {error:.1%} | {sign:.1%} |\n"


def surrogate_map(train, test, labels, truth):
    """Test mAP of the surrogates of some labels, in points."""
    scores = [test @ fit(train, labels[:, c], L2).weights for c in range(labels.shape[1])]
    return 100 * mean_average_precision(
        np.column_stack(scores).astype(np.float32), truth.labels, scored=truth.counted
    )


def damage_lines(splits, arrays, known):
    """Rows that compare attacks at equal budgets."""
    train, test = inputs_of(arrays["train"], arrays["test"], DIMENSIONS)
    for rate in (0.1, 0.2, 0.4):
        cells = []
        for name in ("targeted", "greedy", "greedy:objective=likelihood"):
            spec = f"{name}{',' if ':' in name else ':'}rate={rate}"
            begun = time.perf_counter()
            left = attacks.create(spec)(splits.train.partial, seed=0, knowledge=known)
            seconds = time.perf_counter() - begun
            cells.append(
                f"{surrogate_map(train, test, left.values, splits.test):.2f} ({seconds:.1f} s)"
            )
        yield f"| {rate:.0%} | {' | '.join(cells)} |\n"


def main():
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    splits = datasets.create("voc:year=2007").load()
    model = models.resolve("efficientnet-lite0")
    arrays = {name: features(part, model)["features"] for name, part in splits.parts.items()}
    held_out = HeldOut(arrays["val"], splits.val.partial)
    known = Knowledge({"features": lambda: arrays["train"], "held_out": lambda: held_out})
    labels = splits.train.partial
    total = labels.known_positives
    text = (
        "# Influence of single positives: estimate and exact refit\n\n"
        "<!-- --8<-- [start:table] -->\n`python benchmarks/attacks/influence.py`, on VOC 2007 "
        "(4,006 attacked and 1,002 held-out images, efficientnet-lite0 features, "
        f"{DIMENSIONS} axes, weight decay {L2:g}). "
        f"{arguments.samples} random positives are removed one at a time, and the surrogate of "
        "their class is fitted again. The slope is that of the true on the estimated growth of the "
        "held-out loss through the origin: above 1 the estimate is too small.\n\n"
    ) + HEAD
    for objective in ("ranking", "likelihood"):
        problem = problem_of(
            arrays["train"], held_out, dimensions=DIMENSIONS, l2=L2, objective=objective
        )
        words = raw_words(generator(0, "ties"), total)
        order = removal_order(
            problem, labels, round(0.38 * total), math.ceil(total / ROUNDS), words
        )
        for before, removed in (("none", order[:0]), ("38 % of the positives", order)):
            found = compare(problem, labels, removed, arguments.samples)
            text += line(objective, before, *found)
    train, test = inputs_of(arrays["train"], arrays["test"], DIMENSIONS)
    clean = surrogate_map(train, test, labels.values, splits.test)
    text += (
        f"\nTest mAP of the surrogates in points ({clean:.2f} with all labels), and seconds of the "
        "attack on one core:\n\n| rate | targeted | greedy | greedy, likelihood |\n"
        "|---|---|---|---|\n"
    )
    text += "".join(damage_lines(splits, arrays, known)) + "<!-- --8<-- [end:table] -->\n"
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):
        main()
