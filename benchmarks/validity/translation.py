"""Does D-Score know what translation does? Small CNNs of known spatial bias, on `digits`.

Trains networks with a globally pooled and with a flatten head on canvases of which a known share
has its digits in the left half only, scores all on the same canvases with digits everywhere, and
compares with what they lose there: mAP on left-only canvases minus mAP on canvases with digits
everywhere.

    python benchmarks/validity/translation.py
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import Tensor, nn

from labelattack import datasets, defenses, models
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.defenses.base import Task
from labelattack.labels import PartialLabels
from labelattack.measures._d_score.distributions import fitness
from labelattack.measures._d_score.scoring import ablation_logits_of_network, diagnose
from labelattack.measures.d_score import DScoreSettings
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.training.inputs import ImageInputs
from labelattack.training.loop import fit, predict
from labelattack.training.recipe import Recipe
from labelattack.training.workers import worker_pool

SHARES = (0.0, 0.5, 0.8, 0.95, 1.0)  # of training canvases with digits in the left half only
RATES = {"pooled": 4e-3, "flatten": 2e-3}
SIDE, LABELS, IMAGES = 8, 10, 500
CPU = torch.device("cpu")
GRID = DScoreSettings(grid=4, resamples=0)


class Flatten(nn.Module):
    """The backbone of `tiny` with one weight for each channel and position."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        model = models.create("tiny")
        self.backbone = model.build(LABELS, seed=seed).backbone
        torch.manual_seed(seed)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * SIDE * SIDE, LABELS))
        nn.init.constant_(self.head[1].bias, -2.6)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


def build(head: str, seed: int) -> nn.Module:
    return models.create("tiny").build(LABELS, seed=seed) if head == "pooled" else Flatten(seed)


def canvases(bias: str, test_bias: str = "none"):
    return datasets.create(f"digits:canvas={4 * SIDE},bias={bias},test_bias={test_bias}").load()


def inputs(split: Split) -> ImageInputs:
    return ImageInputs(split.images, models.create("tiny").preprocessing, CPU)


def train(head: str, share: float, seed: int, folder: str) -> None:
    """Trains one network on clean labels, unless its weights are there."""
    path = Path(folder) / f"{head}-{share}-{seed}.safetensors"
    if path.exists():
        return
    left, everywhere = canvases("left").train, canvases("none").train
    cut = round(share * len(left.labels))
    pixels = np.concatenate([left.images.pixels[:cut], everywhere.images.pixels[cut:]])
    values = np.concatenate([left.labels[:cut], everywhere.labels[cut:]])
    labels = PartialLabels(values, np.ones_like(values))
    loss = defenses.create("bce")
    loss.bind(Task(labels=labels, seed=seed, expected_positives=2.0))
    train, unused = (
        ImageInputs(ArrayImages(images), models.create("tiny").preprocessing, CPU)
        for images in (pixels, pixels[:1])
    )
    result = fit(
        build(head, seed),
        loss,
        train,
        unused,
        labels,
        Recipe(epochs=10, lr=RATES[head], batch_size=16),
        seed=seed,
        device=CPU,
        validate=lambda scores: float("nan"),
    )
    save_file(result.state, path)


def score(head: str, share: float, seed: int, folder: str) -> dict[str, object]:
    """One row: what the network loses, and its scores."""
    network = build(head, seed)
    network.load_state_dict(load_file(Path(folder) / f"{head}-{share}-{seed}.safetensors"))
    rows = np.arange(IMAGES)
    tests = {b: canvases("none", b).test.take(rows) for b in ("none", "left", "right")}
    found = {
        b: mean_average_precision(predict(network, inputs(t)), t.labels) for b, t in tests.items()
    }
    row: dict[str, object] = {"head": head, "share": share, "seed": seed}
    row |= {"map": found["none"], "loss": found["left"] - found["none"]}
    for where, test in tests.items():
        looks, stage = ablation_logits_of_network(network, "backbone", inputs(test), GRID)
        for evidence in ("margin", "map") if where == "none" else ("margin",):
            d = diagnose(looks, test, stage, GRID.model_copy(update={"evidence": evidence}))
            row[f"{where} {evidence}"] = {
                "robustness": d.robustness,
                "fitness": d.fitness,
                "d_score": d.d_score,
                "attention": d.attention,
                "features": d.features,
            }
    # The model's attention, measured where it can look anywhere, against each data set's features.
    looking = np.array(row["none margin"]["attention"])
    for where in ("left", "right"):
        row[f"fitness to {where}"] = float(
            fitness(looking, np.array(row[f"{where} margin"]["features"]))
        )
    return row


def correlation(rows: list[dict], value: Callable[[dict], float]) -> dict[str, float]:
    """Spearman's rho of the loss with a score, and its 95 % percentile bootstrap over networks."""
    pairs = np.array([(row["loss"], value(row)) for row in rows])
    rng = np.random.default_rng(0)
    drawn = [spearmanr(*pairs[rng.integers(len(pairs), size=len(pairs))].T) for _ in range(2000)]
    low, high = np.nanquantile([d.statistic for d in drawn], [0.025, 0.975])
    return {"rho": float(spearmanr(*pairs.T).statistic), "low": float(low), "high": float(high)}


def draw(rows: list[dict], path: Path) -> None:
    figure = Figure(figsize=(11, 4.5), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    for head, colour, marker in (("pooled", "#0072B2", "o"), ("flatten", "#D55E00", "s")):
        some = [row for row in rows if row["head"] == head]
        left.scatter(
            [100 * row["loss"] for row in some],
            [row["none margin"]["d_score"] for row in some],
            color=colour, marker=marker, label=f"{head} head",
        )  # fmt: skip
    left.set_xlabel("mAP lost under translation (points)")
    left.set_ylabel("D-Score on uniform positions")
    left.legend()
    shades = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c8b400")
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
    for share, colour, style in zip(SHARES, shades, styles, strict=True):
        some = [r for r in rows if r["head"] == "flatten" and r["share"] == share]
        attention = np.mean([r["none margin"]["attention"] for r in some], axis=0)
        columns = attention.reshape(4, 4).sum(axis=0)
        right.plot(
            range(1, 5), columns, color=colour, linestyle=style, marker="o", label=f"{share:g}"
        )
    right.set_xticks(range(1, 5))
    right.set_ylim(0, None)
    right.set_xlabel("column of the image, left to right")
    right.set_ylabel("attention of flatten heads")
    right.legend(title="left-only share\nof training")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=Path("validity-weights"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/validity"))
    parser.add_argument("--picture", type=Path, default=Path("docs/validity.png"))
    options = parser.parse_args()
    options.weights.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [
        (head, share, seed, str(options.weights))
        for seed in range(options.seeds)
        for head in RATES
        for share in SHARES
    ]
    with worker_pool(options.jobs, ()) as pool:
        for number, task in enumerate([pool.submit(train, *run) for run in runs], 1):
            task.result()
            print(f"trained {number} of {len(runs)}", flush=True)
        rows = [task.result() for task in [pool.submit(score, *run) for run in runs]]
    families = {
        "all": rows,
        **{head: [row for row in rows if row["head"] == head] for head in RATES},
    }
    correlations = {
        f"{name}, {evidence}, {part}": correlation(
            some, lambda row, e=evidence, p=part: row[f"none {e}"][p]
        )
        for name, some in families.items()
        for evidence in ("margin", "map")
        for part in ("robustness", "fitness", "d_score")
    }
    result = {"correlations": correlations, "networks": rows}
    (options.out / "translation.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )
    draw(rows, options.picture)
    for name, c in correlations.items():
        print(f"{name:28} {c['rho']:+.2f} [{c['low']:+.2f}, {c['high']:+.2f}]")
    for row in families["flatten"]:
        if row["share"] in (0.0, 1.0):
            same = ", ".join(f"{w} {row[f'{w} margin']['fitness']:.3f}" for w in ("left", "right"))
            fixed = ", ".join(f"{w} {row[f'fitness to {w}']:.3f}" for w in ("left", "right"))
            print(
                f"flatten, share {row['share']:g}, seed {row['seed']}: fitness, both measured on "
                f"that data: {same}; of its attention on uniform data: {fixed}"
            )


if __name__ == "__main__":
    main()
