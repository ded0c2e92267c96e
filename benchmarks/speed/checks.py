"""Times every check that is made before anything is trained, on a dataset.

    python benchmarks/speed/checks.py [--dataset voc:year=2007] [--model resnet18:weights=none]

Each check is timed with an empty cache, as the first run of a machine meets it, and again with what
that run has left; the median of three such pairs. Files lie in the page cache of the system.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from side_by_side import seconds, time_of

ROUNDS = 3
ATTACKS = "targeted", "single-positive", "random"


def checks(dataset, model):
    """What is checked, and the call that checks it; each may use what those before it made."""
    from labelattack import attacks, datasets, defenses, models
    from labelattack.benchmark.execution import executors
    from labelattack.benchmark.plan.grid import Grid
    from labelattack.benchmark.store.store import RecordStore
    from labelattack.benchmark.store.trackers.base import Trackers
    from labelattack.datasets.verification import verify
    from labelattack.defenses.base import Task
    from labelattack.labels import PartialLabels
    from labelattack.measures._d_score.ablation import mutants
    from labelattack.measures._d_score.logits import stage_of
    from labelattack.measures.d_score import DScoreSettings
    from labelattack.measures.run import Setup
    from labelattack.registry.installation import commit, edited_files
    from labelattack.training.hardware import resolve_device

    found = {}
    names = defenses.registry.names()

    def cross():
        Grid(
            dataset=dataset, model=model, protocol="finetune", attacks=ATTACKS,
            defenses=tuple(names),
        ).cells("")  # fmt: skip

    def load():
        found["splits"] = datasets.create(dataset).load()

    def bind():
        splits = found["splits"]
        labels = PartialLabels.full(splits.train.labels)
        for name in names:
            task = Task(labels=labels, expected_positives=splits.expected_positives or 2.0)
            defenses.create(name).bind(task)

    def attack():
        for name in ATTACKS:
            attacks.create(name)(found["splits"].train.labels, seed=0)

    def git():
        commit.cache_clear()
        edited_files.cache_clear()
        commit(), edited_files()

    def where():
        executors.create("local"), Trackers([]), resolve_device("cpu")

    def stage():
        settings = DScoreSettings()
        setup = Setup(found["splits"], models.registry.resolve(model), "finetune")
        mutants(stage_of(setup, settings), settings)

    yield "device, executor and trackers", where
    yield "state of the package's source", git
    yield "every name and parameter of the grid, and its cells", cross
    yield "lists, labels and which image files are there", load
    yield "content of every image file", lambda: found["splits"].fingerprint
    yield "notes on classes and validation labels", lambda: found["splits"].warnings
    yield "the results folder", lambda: RecordStore(Path(tempfile.mkdtemp()))
    yield "every attack on the training labels", attack
    yield "every loss bound to them", bind
    yield "the model built", lambda: models.create(model).build(20, seed=0)
    yield "every image decoded", lambda: verify(found["splits"])
    yield "grid and operator of the D-Score on the model's last stage", stage


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="voc:year=2007")
    parser.add_argument("--model", default="resnet18:weights=none")
    options = parser.parse_args()
    cold, warm = {}, {}
    for _ in range(ROUNDS):
        cache = tempfile.mkdtemp()
        os.environ["LABELATTACK_CACHE"] = cache
        for times in (cold, warm):
            for what, call in checks(options.dataset, options.model):
                times.setdefault(what, []).append(seconds(call)[0])
        shutil.rmtree(cache)
    print("| check | first time | again |\n| --- | ---: | ---: |")
    for what in cold:
        first, again = (time_of(statistics.median(times[what])) for times in (cold, warm))
        print(f"| {what} | {first} | {again} |")
    sums = (sum(map(statistics.median, times.values())) for times in (cold, warm))
    print(f"| all | {' | '.join(map(time_of, sums))} |")


if __name__ == "__main__":
    main()
