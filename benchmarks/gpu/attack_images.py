"""Measuring evasion, by ART, against the same descent as a bare loop on the device."""

from functools import partial

import numpy as np
import torch
from timing import compare
from torch.nn import functional

from labelattack import measures, models
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.measures._evasion import evaded

LABELS = 20


def rows(setting):
    spec = setting.size("resnet50:weights=none", "resnet18:weights=none,size=32")
    model = models.create(spec)
    side, count = model.preprocessing.size, setting.size(50, 4)
    steps = setting.size(10, 2)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = rng.random((count, LABELS)) < 0.2
    labels[0], labels[1] = True, False
    split = Split(ArrayImages(pixels), labels, [str(number) for number in range(count)])
    settings = measures.create(f"evasion:steps={steps},objective=cross-entropy")
    network = model.build(LABELS, seed=0).eval().to(setting.device)
    network.requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).to(setting.device)
    targets = torch.from_numpy(labels.astype(np.float32)).to(setting.device)
    mean, std = (
        torch.tensor(values, device=setting.device)[:, None, None]
        for values in (model.preprocessing.mean, model.preprocessing.std)
    )

    def bare():
        moved = images.clone()
        for _ in range(steps):
            moved.requires_grad_()
            logits = network((moved - mean) / std)
            (slope,) = torch.autograd.grad(
                functional.binary_cross_entropy_with_logits(logits, targets), moved
            )
            with torch.no_grad():
                moved = moved + settings.eps / 4 * slope.sign()
                moved = torch.clamp(moved, images - settings.eps, images + settings.eps)
                moved = moved.clamp(0, 1)
        with torch.inference_mode():
            return network((moved - mean) / std).cpu()

    ours = partial(evaded, network, split, model.preprocessing, settings)
    what = f"evasion of {spec.partition(':')[0]} at {side} px, {steps} steps"
    yield compare(what, "images", count, ours, "a bare descent", bare, setting)
