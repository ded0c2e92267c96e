"""Seconds and memory of every attack on COCO's labels and on a matrix of NUS-WIDE's size.

    LABELATTACK_DATA=... python benchmarks/memory/attacks.py

Knowledge of an attack is made up beforehand, as scores that are there already are no part of it.
Memory is the peak of what Python allocates while an attack runs, in multiples of the label matrix,
the result included. `greedy`, which fits surrogates, and `mask`, which reads a file, are not here.
"""

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np

from labelattack import attacks
from labelattack.attacks.knowledge import Knowledge
from labelattack.labels import PartialLabels
from labelattack.labels.objects import ObjectList

PATH = Path(os.environ.get("LABELATTACK_DATA", "data")) / "coco2014" / "train2014_labels.npz"
SPECS = (
    "targeted", "random", "random:scope=image", "single-positive", "fixed-per-class",
    "class-conditional", "class-conditional:setting=wipe-out", "co-occurrence", "disappear",
    "negatives-only", "annotator-pool", "annotator-pool:keep_negatives=true", "block",
    "group-block", "unlabelled-images", "confidence", "instance-dependent", "machine-suggested",
    "machine-suggested:scope=image", "size-biased", "location-biased", "semantic-biased", "flip",
    "flip:negative_rate=0.01", "flip-confidence", "flip-confidence:negative_rate=0.01",
    "hidden-as-negative", "false-positives",
)  # fmt: skip
WANTED = {"COCO train2014": 0.15, "NUS-WIDE's size": 0.5}
MEMORY = 4.0
OUT = Path(__file__).resolve().parents[1] / "results" / "attacks" / "cost.md"


def matrices():
    draw = np.random.default_rng(0)
    if PATH.is_file():
        yield "COCO train2014", np.load(PATH)["labels"].astype(bool)
    else:
        yield "COCO train2014", draw.random((82_081, 80)) < 0.0367
    yield "NUS-WIDE's size", draw.random((269_648, 81)) < 0.023


def knowledge_for(labels):
    """Made-up knowledge of every kind that a closed form needs."""
    images, classes = labels.shape
    draw = np.random.default_rng(1)
    scores = draw.random(labels.shape, dtype=np.float32)
    rows, columns = np.nonzero(labels)
    rows, columns = np.repeat(rows, 3), np.repeat(columns, 3)
    corners = np.sort(draw.random((len(rows), 2, 2)) * 400, axis=1).reshape(-1, 4)
    areas = draw.random(len(rows)) * 1e4
    objects = ObjectList.of(rows, columns, corners, areas, np.full((images, 2), 480.0))
    groups = tuple(str(row // 10) for row in range(images))
    weights = draw.random(classes)
    return Knowledge(
        {
            "scores": lambda: scores, "areas": lambda: scores, "boxes": lambda: objects,
            "groups": lambda: groups, "weights": lambda: weights,
        }
    )  # fmt: skip


def cost(attack, labels, knowledge):
    """Best of three seconds after one run to warm up, and the peak in multiples of the matrix."""
    attack(labels, seed=0, knowledge=knowledge)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        attack(labels, seed=0, knowledge=knowledge)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    attack(labels, seed=0, knowledge=knowledge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(seconds), peak / (labels.shape[0] * labels.shape[1])


def main():
    found = {spec: [] for spec in SPECS}
    names = []
    for name, labels in matrices():
        names.append(name)
        knowledge, known = knowledge_for(labels), PartialLabels.full(labels)
        for spec in SPECS:
            found[spec].append(cost(attacks.create(spec), known, knowledge))
            seconds, memory = found[spec][-1]
            print(f"{name}: {spec}: {seconds:.3f} s, {memory:.1f}", flush=True)
    lines = [
        "<!-- --8<-- [start:table] -->",
        f"| attack | {' | '.join(f'{name}, s | memory' for name in names)} |",
        f"| --- | {' | '.join(['---:'] * 2 * len(names))} |",
    ]
    missed = []
    for spec, of in found.items():
        cells = [f"{seconds:.3f} | {memory:.1f}" for seconds, memory in of]
        lines.append(f"| `{spec}` | {' | '.join(cells)} |")
        slow = any(s > WANTED[name] for name, (s, _) in zip(names, of, strict=True))
        if slow or any(memory > MEMORY for _, memory in of):
            missed.append(spec)
    lines += ["<!-- --8<-- [end:table] -->", ""]
    lines.append(
        f"Wanted: at most {WANTED['COCO train2014']} s, {WANTED[names[1]]} s and {MEMORY:g} times "
        f"the label matrix. Missed by: {', '.join(f'`{m}`' for m in missed) or 'none'}. Written by "
        "`python benchmarks/memory/attacks.py`.\n"
    )
    OUT.write_text("\n".join(lines), encoding="utf-8")
    print("missed:", missed)


if __name__ == "__main__":
    main()
