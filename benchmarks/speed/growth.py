"""How time and memory grow with cells, images and labels: exponents of fitted power laws.

Heads on made-up features; each point in a process of its own, which tells its peak memory.
"""

import atexit
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHANNELS = 128
SERIES = {
    "cells": [1, 10, 100, 1_000],
    "images": [1_000, 10_000, 100_000, 300_000],
    "labels": [20, 80, 300, 1_000],
}
FIXED = {"cells": 8, "images": 1_000, "labels": 20}


@dataclass(frozen=True)
class Series:
    """Seconds and peak memory in bytes at each size; the exponent of the seconds."""

    what: str
    sizes: list[int]
    seconds: list[float]
    peaks: list[int]
    exponent: float


def peak():
    """Peak memory of this process; what resource tells begins with its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def point(cells, images, labels):
    """Attacks, trains, validates and scores heads in groups, as a grid does."""
    import torch

    from labelattack import attacks, defenses
    from labelattack.defenses.base import Task
    from labelattack.metrics.average_precision import mean_average_precision
    from labelattack.training.inputs import FeatureInputs
    from labelattack.training.loop import predict
    from labelattack.training.recipe import Recipe
    from labelattack.training.training_run import TrainingRun
    from labelattack.training.validation import ValidationLabels
    from labelattack.training.vectorized.heads import fit_heads, heads_at_once

    torch.set_num_threads(1)
    device = torch.device("cpu")
    rng = np.random.default_rng(0)

    def part(count):
        features = rng.standard_normal((count, CHANNELS), dtype=np.float32)
        truth = rng.random((count, labels), dtype=np.float32) < 0.05
        return FeatureInputs(features, device), truth

    def run(heads, train, clean, val, val_labels):
        at_once = heads_at_once(*clean.shape, CHANNELS, device=device)
        for first in range(0, heads, at_once):
            runs = []
            for number in range(first, min(first + at_once, heads)):
                seed = number // 10
                attacked = attacks.create("targeted:rate=0.4")(clean, seed=seed)
                loss = defenses.create("wan")
                loss.bind(Task(labels=attacked, seed=seed))
                head = torch.nn.Linear(CHANNELS, labels)
                recipe = Recipe(epochs=1, lr=1e-3, batch_size=16)
                runs.append(
                    TrainingRun(
                        network=head, loss=loss, kind="wan", labels=attacked, recipe=recipe,
                        seed=seed, validation=ValidationLabels(val_labels, None, "given labels"),
                    )
                )  # fmt: skip
            for run, fit in zip(runs, fit_heads(runs, train, val), strict=True):
                run.network.load_state_dict(fit.state)
                mean_average_precision(predict(run.network, val), val_labels)

    run(2, *part(100), *part(100))  # what is imported late
    given = *part(images), *part(min(images, 1_000))
    start = time.perf_counter()
    run(cells, *given)
    took = time.perf_counter() - start
    print(json.dumps([took, peak()]))


def measured(**sizes):
    command = [sys.executable, __file__, json.dumps(FIXED | sizes)]
    told = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return json.loads(told)


def exponent(sizes, seconds):
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def series():
    for what, sizes in SERIES.items():
        found = [measured(**{what: size}) for size in sizes]
        seconds, peaks = map(list, zip(*found, strict=True))
        yield Series(what, sizes, seconds, peaks, exponent(sizes, seconds))
    yield harness()


def harness():
    """The command itself, store and all, over cells of the embedded digits."""
    sizes, seconds, peaks = [20, 200, 1_000], [], []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            told = [
                sys.executable, __file__, "bench", "--protocol", "linear", "--dataset",
                "digits:train=200,val=100,test=100", "--model", "tiny", "--attack", "targeted",
                "--defense", "an", "--lr", "1e-2", "--epochs", "3", "--jobs", "1",
                "--no-reference", "--d-score", "none", "--seeds", str(count), "--out",
                str(Path(folder) / "store"),
            ]  # fmt: skip
            done = subprocess.run(told, check=True, capture_output=True, encoding="utf-8")
            took, most = json.loads(done.stderr.splitlines()[-1])
        seconds.append(took)
        peaks.append(most)
    return Series("cells, by labelattack bench", sizes, seconds, peaks, exponent(sizes, seconds))


def command(arguments):
    """Runs the command line and tells, last of all, what it took."""
    start = time.perf_counter()
    atexit.register(
        lambda: print(json.dumps([time.perf_counter() - start, peak()]), file=sys.stderr)
    )
    sys.argv = ["labelattack", *arguments]
    from labelattack.cli import main

    main()


if __name__ == "__main__":
    if sys.argv[1] == "bench":
        command(sys.argv[1:])
    else:
        point(**json.loads(sys.argv[1]))
