"""How far attacks and the certificate are apart.

    LABELATTACK_DATA=... python benchmarks/certified/gap.py

`an` on VOC 2007, 50 parts. For ever more images r, each in a part of its own: the certificate; test
mAP if r heads give the worst scores there are, the heads chosen as those that hurt most alone, or
at random; test mAP after training anew with every label turned round of all images of r parts, and
of r images, those with the largest features of their parts. Writes
benchmarks/results/certified/gap.md.
"""

from pathlib import Path

import numpy as np
import torch
from trained import attacked, data, flipped, test_map, test_map_of, trained, write_parts

from labelattack.metrics.certificate import certified_map
from labelattack.metrics.statistics import estimate
from labelattack.metrics.text import with_interval
from labelattack.models.median_ensemble import LIMIT, MemberScores
from labelattack.training.loop import predict
from labelattack.training.protocols.partition_aggregation import parts_of

SEEDS, PARTS = 3, 50
CHANGED = 1, 2, 5, 10, 15, 20
OUT = Path(__file__).resolve().parents[1] / "results" / "certified" / "gap.md"


def usurped(scores, heads):
    """mAP if some heads give the worst scores there are."""
    labels = data()[0].test.labels
    after = scores.copy()
    after[:, heads] = np.where(labels, -LIMIT, LIMIT)[:, None]
    return test_map(np.sort(after, axis=1)[:, (PARTS - 1) // 2])


def measured(seed):
    """Certificate and mAP in points of each kind of attack, by changed images."""
    splits, prepared = data()
    labels = attacked("none", seed)
    ensemble = trained(labels, PARTS, seed)
    scores = predict(MemberScores(ensemble), prepared.test)
    scores = scores.reshape(len(scores), PARTS, -1)
    parts = parts_of(labels, PARTS, seed)
    alone = [usurped(scores, [head]) for head in range(PARTS)]
    hurt, drawn = np.argsort(alone), np.random.default_rng(seed).permutation(PARTS)
    test = splits.test
    certified = 100 * certified_map(scores, test.labels, scored=test.counted)
    size = np.linalg.norm(prepared.train.features.numpy(), axis=1)
    leading = [rows[size[rows].argmax()] for rows in parts]
    return {
        "certified": [certified[r] for r in CHANGED],
        "r heads give the worst scores, chosen": [usurped(scores, hurt[:r]) for r in CHANGED],
        "r heads give the worst scores, drawn": [usurped(scores, drawn[:r]) for r in CHANGED],
        "all labels of r parts turned round": [
            test_map_of(trained(flipped(labels, np.concatenate([parts[p] for p in hurt[:r]])),
                                PARTS, seed))
            for r in CHANGED
        ],
        "all labels of r images turned round": [
            test_map_of(trained(flipped(labels, [leading[p] for p in hurt[:r]]), PARTS, seed))
            for r in CHANGED
        ],
        "no change": [test_map_of(ensemble)] * len(CHANGED),
    }  # fmt: skip


def main():
    torch.set_num_threads(1)
    seeds = [measured(seed) for seed in range(SEEDS)]
    lines = ["| r | " + " | ".join(map(str, CHANGED)) + " |", "|---|" + "---|" * len(CHANGED)]
    for name in seeds[0]:
        found = [estimate([each[name][place] for each in seeds]) for place in range(len(CHANGED))]
        cells = (with_interval(each.mean, each.half_width) for each in found)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = f"`python benchmarks/certified/gap.py`: {SEEDS} seeds, {PARTS} parts, mAP in points.\n"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_parts(OUT, {"gap": "\n".join([told, *lines, ""])})


if __name__ == "__main__":
    main()
