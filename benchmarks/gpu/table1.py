"""Operations of Table I by the paper's own protocol, and its hours on a card that was measured.

    python benchmarks/gpu/table1.py [--results benchmarks/results/gpu/results.json]

Images are those of the official lists; a fifth of the training list validates. ResNet-50 at 448
pixels, counted by torch on tensors without memory (multiplications and additions of convolutions
and matrix products; normalisation and activations are not counted). Each run trains on its images
once an epoch, scores the validation images after each, and the test images once. With results of
check.sh, hours follow from its images a second, on one card with one run at a time. Without, the
hours at 100 TFLOP/s are arithmetic: no card was measured that sustains them.
"""

import argparse
import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from labelattack import datasets, models
from labelattack.benchmark.plan.config import experiment, read_experiment

HERE = Path(__file__).resolve().parent
USUAL = HERE.parent / "results" / "gpu" / "results.json"
BATCH, SUSTAINED = 16, 100


def operations(model):
    """Floating-point operations for an image: scored, and trained on."""
    with torch.device("meta"):
        network = model.build(80, seed=0).to("meta")
        images = torch.empty(BATCH, 3, model.preprocessing.size, model.preprocessing.size)
    found = []
    for training in (False, True):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
            logits = network.train(training)(images)
            if training:
                logits.sum().backward()
        found.append(counter.get_total_flops() / BATCH)
    return found


def passes(grid):
    """Runs, and images that all of them train on and score."""
    listed, held = list(datasets.create(grid.dataset).card().images.values()), 0.2
    cells = grid.cells("")
    val = round(held * listed[0])
    trained = sum(cell.recipe.epochs * (listed[0] - val) for cell in cells)
    scored = sum(cell.recipe.epochs * val + listed[1] for cell in cells)
    return len(cells), trained, scored


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=USUAL)
    path = parser.parse_args().results
    rates = measured(path) if path.is_file() or path != USUAL else None
    wanted = experiment(read_experiment(HERE.parent / "paper" / "table1.toml", "paper"))
    score, train = operations(models.create("resnet50:weights=none"))
    print(f"An image takes {score / 1e9:.1f} GFLOP to score and {train / 1e9:.1f} to train on.\n")
    hours = " hours as measured |" if rates else ""
    print(
        f"| data set | runs | trained on | scored | PFLOP | hours at {SUSTAINED} TFLOP/s |{hours}"
    )
    print("| --- |" + " ---: |" * (6 if rates else 5))
    total = [0.0] * 4
    for grid in wanted.grids():
        counts = passes(grid)
        whole = *counts, (counts[1] * train + counts[2] * score) / 1e15
        total = [a + b for a, b in zip(total, whole, strict=True)]
        print(line(grid.dataset, whole, rates))
    print(line("all", total, rates))


def line(name, counts, rates):
    runs, trained, scored, work = counts
    cells = [f"{runs:,.0f}", f"{trained / 1e6:,.1f} M", f"{scored / 1e6:,.1f} M", f"{work:,.0f}"]
    cells.append(f"{work * 1e3 / SUSTAINED / 3600:,.0f}")
    if rates:
        cells.append(f"{(trained / rates[0] + scored / rates[1]) / 3600:,.0f}")
    return f"| {name} | {' | '.join(cells)} |"


def measured(path):
    """Images a second in training from files and in scoring, as check.sh measured them.

    Raises:
        SystemExit: If they are not there, as of another network or of a part that failed.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["parts"]["fine-tuning"]["rows"]
    except (OSError, ValueError, KeyError) as error:
        why = f"got '{path}': {type(error).__name__} {error}"
        raise SystemExit(f"results must be a results.json of check.sh, {why}") from error
    found = []
    wanted = ("fine-tuning resnet50 at 448 px", "JPEG"), ("scoring with it at 448 px", "")
    for beginning, sign in wanted:
        rates = [r["ours"] for r in rows if r["what"].startswith(beginning) and sign in r["what"]]
        if not rates:
            raise SystemExit(f"'{path}' must have images a second of '{beginning}', got none")
        found += rates[:1]
    return found


if __name__ == "__main__":
    main()
