"""D-Score against plain forward passes over the same images."""

import numpy as np
import torch
from side_by_side import compare
from torch import Tensor, nn

from labelattack import datasets, models
from labelattack.measures._d_score.ablation import mutants, regions, shown_alone, without_patches
from labelattack.measures._d_score.scoring import ablation_logits_of_network
from labelattack.measures._d_score.stage import stage_shape
from labelattack.measures.d_score import DScoreSettings
from labelattack.training.inputs import ImageInputs

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


@torch.inference_mode()
def rows():
    torch.set_num_threads(1)
    digits = datasets.create("digits").load().test.take(np.arange(250))
    tiny = models.create("tiny")
    inputs = ImageInputs(digits.images, tiny.preprocessing, torch.device("cpu"))
    parts = np.split(np.arange(250), 5)
    batches = list(inputs.stream(parts))
    large = list(torch.randn(2, 32, 3, 224, 224))
    for name, images in (("tiny", batches), ("efficientnet-lite0:weights=none", large)):
        network = models.create(name).build(20, seed=0).eval()
        stage = stage_shape(network, "backbone", images[0][:1])
        deleted = mutants(stage, SETTINGS)
        yield compare(
            f"D-Score's deletions, linear head, {name.partition(':')[0]}",
            "plain forward passes",
            lambda n=network, s=stage, d=deleted, i=images: [
                without_patches(n, "backbone", batch, s, d, n.head) for batch in i
            ],
            lambda n=network, i=images: [n(batch) for batch in i],
            "cost",
            1.3,
        )
    network = Deep().eval()
    stage = stage_shape(network, "backbone", batches[0][:1])
    masks = 1 - torch.from_numpy(mutants(stage, SETTINGS))

    def needed() -> None:
        for batch in inputs.stream(parts):
            maps = network.backbone(batch)
            network.head(maps)
            network.head((maps[None] * masks[:, None]).flatten(0, 1))
        for batch in inputs.stream(parts):
            for shifted in shown_alone(batch, stage, SETTINGS):
                network(shifted)

    passes = len(regions(stage, SETTINGS.step)) + 1
    yield compare(
        f"D-Score, deep head, {passes} looks at an image",
        "these passes alone",
        lambda: ablation_logits_of_network(network, "backbone", inputs, SETTINGS),
        needed,
        "cost",
        1.1,
    )
