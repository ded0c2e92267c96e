"""Weight decay and objective of the greedy attack, chosen on validation images.

    LABELATTACK_DATA=... python benchmarks/attacks/greedy.py

For each weight decay of the surrogates and each objective: clean-label mAP on the validation split
of `an`, trained on what the greedy attack leaves at 40 % of the positives; beside it uniform
removal, the most confident positives, and whole classes. No test image is looked at. Writes
benchmarks/results/attacks/greedy.md.
"""

import time
from pathlib import Path

import numpy as np
import torch

from labelattack import attacks, defenses
from labelattack.datasets import registry as datasets
from labelattack.defenses.base import Task
from labelattack.metrics.statistics import estimate
from labelattack.metrics.text import with_interval
from labelattack.models import registry as models
from labelattack.seeding import stream_seed
from labelattack.training.compute import Compute
from labelattack.training.cross_fit import usual_protocol, usual_recipe
from labelattack.training.protocols import registry as protocols
from labelattack.training.surrogate import knowledge_of
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import LAST_EPOCH, ValidationLabels

SETTINGS = (("voc:year=2007", "efficientnet-lite0", 3), ("digits", "tiny", 2))
DECAYS = (1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0)
OTHERS = ("targeted", "confidence", "class-conditional:setting=wipe-out")
OUT = Path(__file__).resolve().parents[1] / "results" / "attacks" / "greedy.md"


class Victim:
    """`an` on a dataset and model, as a bench would train it, seen on validation images."""

    def __init__(self, dataset, model):
        self.splits, self.model = datasets.create(dataset).load(), models.resolve(model)
        self.compute = Compute()
        self.protocol = protocols.create(usual_protocol(self.model))
        self.prepared = self.protocol.prepare(self.splits, self.model, self.compute)
        self.knowledge = knowledge_of(self.splits, "train", self.model, self.compute)

    def validation_map(self, attack, seed):
        """Validation mAP in points, and seconds of the attack."""
        start = time.perf_counter()
        left = attacks.create(attack)(
            self.splits.train.partial, seed=seed, knowledge=self.knowledge
        )
        seconds = time.perf_counter() - start
        loss = defenses.create("an")
        loss.bind(Task(labels=left, seed=stream_seed(seed, "loss")))
        val = self.splits.val
        run = TrainingRun(
            network=self.protocol.build(
                models.create(self.model), len(self.splits.classes),
                seed=stream_seed(seed, "initialisation"),
            ),
            loss=loss,
            kind="an",
            labels=left,
            validation=ValidationLabels(val.labels, val.counted, LAST_EPOCH),
            recipe=usual_recipe(self.model),
            seed=seed,
        )  # fmt: skip
        (fit,) = self.protocol.train([run], self.prepared, self.compute.torch_device)
        return 100 * fit.epochs[-1].val_map, seconds


def rows(victim, seeds):
    for spec in OTHERS:
        found = [victim.validation_map(spec, seed) for seed in range(seeds)]
        yield spec, "", found
    for objective in ("ranking", "likelihood"):
        for decay in DECAYS:
            spec = f"greedy:l2={decay:g},objective={objective}"
            yield spec, decay, [victim.validation_map(spec, seed) for seed in range(seeds)]


def main():
    torch.set_num_threads(1)
    lines = [
        "Clean-label mAP of `an` on *validation* images, at 40 % of the positives removed, and",
        "seconds of one attack; written by `python benchmarks/attacks/greedy.py`.", "",
    ]  # fmt: skip
    for dataset, model, seeds in SETTINGS:
        victim = Victim(dataset, model)
        lines += [
            f"**{dataset}, {model}, {victim.protocol.__class__.__name__.lower()}, {seeds} seeds**",
            "", "| attack | validation mAP | seconds |", "| --- | ---: | ---: |",
        ]  # fmt: skip
        for spec, _, found in rows(victim, seeds):
            of = estimate([value for value, _ in found])
            seconds = np.median([s for _, s in found])
            lines.append(f"| {spec} | {with_interval(of.mean, of.half_width)} | {seconds:.1f} |")
            print(lines[-1], flush=True)
        lines.append("")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    # The markers let pages of the documentation include the tables.
    marked = ["<!-- --8<-- [start:table] -->", *lines, "<!-- --8<-- [end:table] -->", ""]
    OUT.write_text("\n".join(marked), encoding="utf-8")


if __name__ == "__main__":
    main()
