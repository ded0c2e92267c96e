"""Attack generation against a loop over images, and against drawing the random numbers alone."""

import os
from pathlib import Path

import numpy as np
from side_by_side import compare

from labelattack import attacks
from labelattack.attacks.knowledge import Knowledge

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

# Not against loops: tests compare each with one on small labels. NUS-WIDE's size and density stand
# for what is larger.
FAMILY = (
    "fixed-per-class",
    "class-conditional",
    "class-conditional:setting=wipe-out",
    "co-occurrence",
    "disappear",
    "negatives-only",
    "annotator-pool",
    "annotator-pool:keep_negatives=true",
    "block",
    "group-block",
    "unlabelled-images",
    "flip:negative_rate=0.00752",
    "flip-confidence:negative_rate=0.00752",
    "hidden-as-negative",
    "false-positives",
)
NUS_WIDE, DENSITY = (269_648, 81), 0.023


def knowledge_of(labels):
    """Groups of seven images, and scores that say nothing; given, so that they cost nothing."""
    groups = tuple(str(image // 7) for image in range(len(labels)))
    scores = np.random.default_rng(1).random(labels.shape, dtype=np.float32)
    return Knowledge({"groups": lambda: groups, "scores": lambda: scores})


def family_rows(name, labels):
    """Each attack of the family against the random numbers of one draw over all entries."""
    knowledge = knowledge_of(labels)
    for spec in FAMILY:
        attack = attacks.create(spec)
        yield compare(
            f"{name}: {spec}",
            "a random number for each entry",
            lambda a=attack: a(labels, seed=0, knowledge=knowledge),
            lambda: np.random.PCG64(0).random_raw(labels.size),
            "cost",
            rounds=3,
        )


def rows():
    yield from paper_rows()
    name, labels = matrix()
    yield from family_rows("COCO" if name.startswith("COCO") else name, labels)
    yield from family_rows("NUS-WIDE's size", np.random.default_rng(0).random(NUS_WIDE) < DENSITY)


def paper_rows():
    """The paper's attacks against loops."""
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
