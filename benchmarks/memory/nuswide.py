"""Peak memory of attacking and evaluating labels of NUS-WIDE's size: 269,648 x 81.

    python benchmarks/memory/nuswide.py

Each step runs in a process of its own; the peak is of the whole process, libraries included.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

IMAGES, LABELS, POSITIVES = 269_648, 81, 1.87
LIMIT = 1024  # MiB
ATTACKS = [
    "none", "targeted:rate=0.4", "targeted:rate=0.4,scope=image", "single-positive",
    "random:rate=0.4", "random:rate=0.4,scope=image",
]  # fmt: skip


def labels():
    """Random labels with the real density; 22 % of the rows have none."""
    rng = np.random.default_rng(0)
    found = np.empty((IMAGES, LABELS), dtype=np.bool_)
    for rows in np.array_split(np.arange(IMAGES), 50):
        found[rows] = rng.random((len(rows), LABELS), dtype=np.float32) < POSITIVES / 0.78 / LABELS
        found[rows[rng.random(len(rows)) < 0.22]] = False
    return found


def step(what):
    """Runs one step and prints what it took."""
    clean = labels()
    start = time.perf_counter()
    if what == "evaluate":
        from labelattack.metrics.average_precision import mean_average_precision

        scores = np.random.default_rng(1).random(clean.shape, dtype=np.float32)
        start = time.perf_counter()
        for variant in ("macro", "micro", "voc-11-point"):
            mean_average_precision(scores, clean, variant=variant)
    else:
        from labelattack import attacks
        from labelattack.attacks.manifest import manifest

        attack = attacks.create(what)
        manifest(attack, what, 0, clean, attack(clean, seed=0))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"step": what, "peak_mib": round(peak), "seconds": round(seconds, 2)}))


def main():
    if len(sys.argv) == 2:
        step(sys.argv[1])
        return
    worst = 0
    for what in [*ATTACKS, "evaluate"]:
        command = [sys.executable, __file__, what]
        found = json.loads(
            subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
        )
        worst = max(worst, found["peak_mib"])
        print(f"{what:32} {found['peak_mib']:6} MiB {found['seconds']:8.2f} s")
    print(f"worst {worst} MiB, limit {LIMIT} MiB")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
