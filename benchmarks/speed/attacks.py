"""Attack generation against a loop over images, and against drawing the random numbers alone."""

import os
from pathlib import Path

import numpy as np
from side_by_side import compare

from labelattack import attacks

PATH = Path(os.environ.get("LABELATTACK_DATA", "data")) / "coco2014" / "train2014_labels.npz"


def matrix():
    """COCO's labels where they are, else random ones of their shape and density."""
    if PATH.is_file():
        return "COCO train2014", np.load(PATH)["labels"].astype(bool)
    return "made-up labels", np.random.default_rng(0).random((82_081, 80)) < 0.0367


def single(labels, rng):
    kept = np.zeros_like(labels)
    for row, image in enumerate(labels):
        there = np.flatnonzero(image)
        if len(there):
            kept[row, rng.choice(there)] = True
    return kept


def targeted_by_image(labels, rng):
    kept = labels.copy()
    for row, image in enumerate(labels):
        there = np.flatnonzero(image)
        kept[row, rng.choice(there, size=int(0.4 * len(there)), replace=False)] = False
    return kept


def targeted(labels, rng):
    kept = labels.copy()
    for row, image in enumerate(labels):
        there = np.flatnonzero(image)
        kept[row, there[rng.random(len(there)) < 0.4]] = False
    return kept


def random(labels, rng):
    return np.stack([rng.random(labels.shape[1]) >= 0.4 for _ in labels])


def random_by_image(labels, rng):
    observed = np.ones_like(labels)
    for row in range(len(labels)):
        observed[row, rng.choice(labels.shape[1], size=32, replace=False)] = False
    return observed


ATTACKS = {
    "single-positive": single,
    "targeted:rate=0.4": targeted,
    "targeted:rate=0.4,scope=image": targeted_by_image,
    "random:rate=0.4": random,
    "random:rate=0.4,scope=image": random_by_image,
}


def rows():
    name, labels = matrix()
    what = f"{name}, {labels.shape[0]:,} × {labels.shape[1]}: "
    positives = int(labels.sum())
    for spec, loop in ATTACKS.items():
        attack = attacks.create(spec)

        def ours(a=attack):
            return a(labels, seed=0)

        def looped(f=loop):
            return f(labels, np.random.default_rng(0))

        def drawn(count):
            return lambda: np.random.PCG64(0).random_raw(count)

        yield compare(what + spec, "a loop over images", ours, looped, "speedup", rounds=3)
        yield compare(
            what + spec, "a random number for each cell", ours, drawn(labels.size), "cost", 3.0
        )
        if not spec.startswith("random"):
            # Shown, and no goal: reading the matrix alone takes longer than drawing so few.
            yield compare(
                what + spec, f"a random number for each of {positives:,} positives", ours,
                drawn(positives), "cost",
            )  # fmt: skip
