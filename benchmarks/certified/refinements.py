"""Each refinement of the certificate, alone, on the same networks.

    LABELATTACK_DATA=... python benchmarks/certified/refinements.py

`an` on VOC 2007, heads of parts of the training images; test mAP and certified mAP for ever more
changed images, by ways of putting the heads' scores together. Finite aggregation (Wang et al. 2022)
trains as many heads on as many images, each image in four of them. Writes
benchmarks/results/certified/refinements.md.
"""

from pathlib import Path

import numpy as np
import torch
from trained import CPU, attacked, data, run_of, write_parts

from labelattack.metrics.certificate import pessimistic_precision
from labelattack.metrics.statistics import estimate
from labelattack.metrics.text import with_interval
from labelattack.models.median_ensemble import LIMIT, relative
from labelattack.training.loop import predict
from labelattack.training.protocols.partition_aggregation import part_run, parts_of

SEEDS, PARTS, SPREAD = 3, (50, 250), 4
CHANGED = 0, 1, 2, 5, 10, 20
ATTACKS = "none", "targeted:rate=0.4"
OUT = Path(__file__).resolve().parents[1] / "results" / "certified" / "refinements.md"


def logits_of(attack, parts, seed, spread=1):
    """Logits of heads, of validation and test images, and whether each knows a positive.

    With a spread, there are as many heads for each of ever smaller parts, each of a head's images
    being those of `spread` small parts.
    """
    protocol, run = run_of(attacked(attack, seed), parts, seed)
    _, prepared = data()
    small = parts_of(run.labels, parts * spread, seed)
    steps = np.random.default_rng(seed).permutation(parts * spread)[:spread]
    rows = [
        np.sort(np.concatenate([small[(number + step) % len(small)] for step in steps]))
        for number in range(len(small))
    ]
    runs = [part_run(run, run.network.members[0], each, n) for n, each in enumerate(rows)]
    states = {}
    for size in {len(each) for each in rows}:
        places = [place for place, each in enumerate(rows) if len(each) == size]
        for start in range(0, len(places), 128):
            group = places[start : start + 128]
            fits = protocol.inner.train([runs[place] for place in group], prepared, CPU)
            states |= {place: fit.state for place, fit in zip(group, fits, strict=True)}
    head, found = run.network.members[0], []
    for place in range(len(rows)):
        head.load_state_dict(states[place])
        found.append([predict(head, inputs) for inputs in (prepared.val, prepared.test)])
    informed = np.stack([run.labels.positives[each].any(axis=0) for each in rows])
    hits = [[(number - step) % len(small) for step in steps] for number in range(len(small))]
    val, test = (np.stack(each) for each in zip(*found, strict=True))
    return val, test, informed, np.array(hits)


def bound(low, high):
    """Certified mAP in points of worst scores of positives and of negatives."""
    test = data()[0].test
    counted, low, high = np.broadcast_arrays(test.counted, low, high)
    return 100 * np.mean([
        pessimistic_precision(low[count & label, c], high[count & ~label, c])
        for c, (count, label) in enumerate(zip(counted.T, test.labels.T, strict=True))
    ])  # fmt: skip


def mean_by_steps(scores, changed):
    """Mean of scores in [0, 1]: each moves by at most changed / parts."""
    mean, step = scores.mean(axis=0), changed / len(scores)
    return bound(mean - step, mean + step)


def mean_by_range(scores, changed):
    """The same, with the range that each part's score can take: it falls to 0 or rises to 1."""
    ordered, parts = np.sort(scores, axis=0), len(scores)
    low = ordered[: parts - changed].sum(axis=0) / parts
    return bound(low, (ordered[changed:].sum(axis=0) + changed) / parts)


def median(scores, changed):
    """Lower median: it moves by at most as many places as parts change."""
    ordered, middle = np.sort(scores, axis=0), (len(scores) - 1) // 2
    if changed > middle:
        return bound(np.float32(-np.inf), np.float32(np.inf))
    return bound(ordered[middle - changed], ordered[middle + changed])


def spread_median(scores, changed, hits):
    """Median of heads that overlap: the small parts that hold most heads above it, or below.

    Args:
        scores: Scores, [heads, images, labels].
        changed: Number of images changed, at worst each in a small part of its own.
        hits: Heads that each small part belongs to, [small parts, spread].
    """
    ordered, middle = np.sort(scores, axis=0), (len(scores) - 1) // 2
    moved = []
    for above in (scores >= ordered[middle], scores <= ordered[middle]):
        counts = above[hits].sum(axis=1, dtype=np.int16)  # of each small part
        most = -np.sort(-counts, axis=0)[:changed].sum(axis=0, dtype=np.int64)
        moved.append(most)
    ends = np.concatenate([
        np.full_like(ordered[:1], -np.inf), ordered, np.full_like(ordered[:1], np.inf)
    ])  # fmt: skip
    low = np.clip(middle - moved[0], -1, len(scores)) + 1
    high = np.clip(middle + moved[1], -1, len(scores)) + 1
    return bound(*(np.take_along_axis(ends, each[None], 0)[0] for each in (low, high)))


def standard(val, test):
    """Standard scores of each head and label."""
    mean, deviation = val.mean(axis=1, keepdims=True), val.std(axis=1, keepdims=True)
    return (test - mean) / np.where(deviation > 0, deviation, 1)


def abstaining(scores, informed):
    """Scores at both ends where a head knows no positive."""
    sign = np.where(np.arange(len(scores)) % 2, 1, -1)[:, None, None]
    return np.where(informed[:, None], scores, LIMIT * sign)


def unit(logits):
    """Logits over their root mean square over the labels."""
    return relative(torch.from_numpy(logits)).numpy()


def ways(attack, parts, seed):
    """Certified mAP of each way, by changed images."""
    val, test, informed, _ = logits_of(attack, parts, seed)
    chance = 1 / (1 + np.exp(-np.clip(test, -80, 80)))
    plain, full = standard(val, test), standard(unit(val), unit(test))
    made = {
        "mean of probabilities, each moves by r/k": lambda r: mean_by_steps(chance, r),
        "votes (probability above 0.2), by r/k": lambda r: mean_by_steps(
            (chance > 0.2).astype(np.float32), r
        ),
        "mean of probabilities, by the range left": lambda r: mean_by_range(chance, r),
        "median of logits": lambda r: median(test, r),
        "median of standard scores": lambda r: median(plain, r),
        "and abstention without a positive": lambda r: median(abstaining(plain, informed), r),
        "and logits over their size: as built": lambda r: median(abstaining(full, informed), r),
    }
    found = {name: [way(r) for r in CHANGED] for name, way in made.items()}
    if parts * SPREAD <= 200:
        val, test, informed, hits = logits_of(attack, parts, seed, SPREAD)
        scores = abstaining(standard(unit(val), unit(test)), informed)
        found[f"as built, finite aggregation, d = {SPREAD}"] = [
            spread_median(scores, r, hits) for r in CHANGED
        ]
    return found


def main():
    torch.set_num_threads(1)
    lines = []
    for attack in ATTACKS:
        for parts in PARTS:
            seeds = [ways(attack, parts, seed) for seed in range(SEEDS)]
            lines += ["", f"### {attack}, {parts} parts", ""]
            lines.append("| aggregation | mAP | " + " | ".join(f"{r}" for r in CHANGED[1:]) + " |")
            lines.append("|---|" + "---|" * len(CHANGED))
            for name in seeds[0]:
                cells = []
                for place in range(len(CHANGED)):
                    of = estimate([each[name][place] for each in seeds])
                    cells.append(with_interval(of.mean, of.half_width))
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    told = f"`python benchmarks/certified/refinements.py`: {SEEDS} seeds, certified mAP."
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_parts(OUT, {"refinements": "\n".join([told, *lines, ""])})


if __name__ == "__main__":
    main()
