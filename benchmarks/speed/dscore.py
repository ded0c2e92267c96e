"""Time of D-Score against plain forward passes over the same images, in one run.

python benchmarks/speed/dscore.py
"""

import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn

from labelattack import datasets, models
from labelattack.diagnosis.looks import mutants, regions, shown_alone, without_cells
from labelattack.diagnosis.score import looks_of_network
from labelattack.diagnosis.settings import DScoreSettings
from labelattack.diagnosis.stage import stage_shape
from labelattack.training.inputs import ImageInputs

ROUNDS, BATCH = 7, 50
SETTINGS = DScoreSettings(resamples=0)


class Deep(nn.Module):
    """A head that is not linear in pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = models.create("tiny").build(10, seed=0).backbone
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


def ratio(name, limit, ours, plain):
    """Runs both sides in turn; the ratio of each round, so that drift hits both alike."""
    ours(), plain()
    found = []
    for _ in range(ROUNDS):
        times = []
        for side in (ours, plain):
            start = time.perf_counter()
            side()
            times.append(time.perf_counter() - start)
        found.append(times[0] / times[1])
    print(
        f"{name:44} {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}), "
        f"limit {limit}"
    )


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    digits = datasets.create("digits").load().test.take(np.arange(250))
    tiny = models.create("tiny")
    inputs = ImageInputs(digits.images, tiny.preprocessing, torch.device("cpu"))
    rows = np.split(np.arange(250), 5)
    batches = list(inputs.stream(rows))
    large = list(torch.randn(2, 32, 3, 224, 224))
    for name, images in (("tiny", batches), ("efficientnet-lite0:weights=none", large)):
        network = models.create(name).build(20, seed=0).eval()
        stage = stage_shape(network, "backbone", images[0][:1])
        deleted = mutants(stage, SETTINGS)
        ratio(
            f"deletion, linear head, {name.partition(':')[0]}",
            1.3,
            lambda n=network, s=stage, d=deleted, i=images: [
                without_cells(n, "backbone", batch, s, d, n.head) for batch in i
            ],
            lambda n=network, i=images: [n(batch) for batch in i],
        )
    network = Deep().eval()
    stage = stage_shape(network, "backbone", batches[0][:1])
    masks = 1 - torch.from_numpy(mutants(stage, SETTINGS))

    def needed() -> None:
        for batch in inputs.stream(rows):
            maps = network.backbone(batch)
            network.head(maps)
            network.head((maps[None] * masks[:, None]).flatten(0, 1))
        for batch in inputs.stream(rows):
            for shifted in shown_alone(batch, stage, SETTINGS):
                network(shifted)

    passes = len(regions(stage, SETTINGS.step)) + 1
    ratio(
        f"all of it, deep head, {passes} passes and mutants",
        1.1,
        lambda: looks_of_network(network, "backbone", inputs, SETTINGS),
        needed,
    )


if __name__ == "__main__":
    main()
