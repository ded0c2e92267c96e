"""Training, scoring and feature extraction of ResNet-50 against bare loops on the device.

The bare loops have normalised images on the device already, in the layout that convolutions like,
and compute as the harness does: bfloat16 in training, float32 without TF32 in scoring, the fused
Adam, batches of 16. Weights are random; the time is that of published ones.
"""

import os
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from timing import compare, rate
from torch.nn import functional

from labelattack import datasets, defenses, models
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages, FileImages
from labelattack.defenses.base import Task
from labelattack.errors import DatasetError
from labelattack.labels import PartialLabels
from labelattack.training import inputs
from labelattack.training.compute import Compute
from labelattack.training.feature_cache import _sizes, features
from labelattack.training.hardware import reduced_precision
from labelattack.training.inputs import ImageInputs, split_batches
from labelattack.training.loop import EVALUATION_BATCH, fit, predict
from labelattack.training.recipe import Recipe

BATCH, LABELS = 16, 20


def rows(setting):
    spec = setting.size("resnet50:weights=none", "resnet18:weights=none,size=32")
    model = models.create(spec)
    side, count = model.preprocessing.size, setting.size(768, 32)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = PartialLabels.full(rng.random((count, LABELS)) < 0.1)
    resident = ImageInputs(ArrayImages(pixels), model.preprocessing, setting.device)
    ready = torch.cat(list(resident.stream(split_batches(np.arange(count), BATCH))))
    network = model.build(LABELS, seed=0)
    network = network.to(setting.device, memory_format=torch.channels_last)
    what = f"fine-tuning {spec.partition(':')[0]} at {side} px"
    yield compare(
        f"{what}, images in memory", "images", count, harness(resident, labels, network, setting),
        "a bare loop", bare_loop(ready, labels, network, setting), setting, goal=0.9,
    )  # fmt: skip
    score = partial(predict, network.eval(), resident)
    yield compare(
        f"scoring with it at {side} px, float32", "images", count, score,
        "a bare loop", bare_scoring(ready, network, EVALUATION_BATCH), setting,
    )  # fmt: skip
    with files(setting) as split:
        some = np.arange(len(split.ids)) % count
        yield from decoding(split, model, setting)
        given = ImageInputs(split.images, model.preprocessing, setting.device)
        with patch.object(inputs, "_budget", lambda device: 0):  # as of a split that is not kept
            yield compare(
                f"{what}, from {len(some)} JPEG files", "images", len(some),
                harness(given, labels.take(some), network, setting), "a bare loop",
                bare_loop(ready[some], labels.take(some), network, setting), setting,
            )  # fmt: skip
        yield from extraction(split, spec, model, setting)


def harness(given, labels, network, setting):
    """An epoch by the project's loop, without validation."""

    def train():
        loss = defenses.create("an")
        loss.bind(Task(labels=labels))
        recipe = Recipe(epochs=1, lr=1e-4, batch_size=BATCH)
        fit(
            deepcopy(network), loss, given, given, labels, recipe, seed=0, device=setting.device,
            validate=None,
        )  # fmt: skip

    return train


def bare_loop(ready, labels, network, setting):
    """An epoch on tensors that are on the device, with no more than it takes."""
    targets = torch.from_numpy(labels.values.astype(np.float32)).to(setting.device)

    def train():
        trained = deepcopy(network).train()
        optimizer = torch.optim.Adam(trained.parameters(), lr=1e-4, fused=True)
        for index in torch.randperm(len(ready), device=setting.device).split(BATCH):
            optimizer.zero_grad()
            batch = ready[index].contiguous(memory_format=torch.channels_last)
            with reduced_precision(setting.device):
                logits = trained(batch)
            functional.binary_cross_entropy_with_logits(logits.float(), targets[index]).backward()
            optimizer.step()

    return train


def bare_scoring(ready, network, size):
    @torch.inference_mode()
    def score():
        return torch.cat([network(batch) for batch in ready.split(size)]).cpu()

    return score


@contextmanager
def files(setting):
    """Images as JPEG files: of VOC 2007, or made up, of the size that VOC's have."""
    count = setting.size(512, 24)
    try:
        if setting.small:
            raise DatasetError("tried on made-up files")
        yield datasets.create("voc").load().test.take(np.arange(count))
    except DatasetError:
        from PIL import Image

        rng = np.random.default_rng(0)
        size = setting.size((500, 375), (50, 38))
        with TemporaryDirectory() as folder:
            names = [f"{number}.jpg" for number in range(count)]
            for name in names:
                coarse = rng.integers(0, 256, (28, 37, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize(size).save(Path(folder) / name)
            shown = np.ones((count, 1), dtype=np.bool_)
            yield Split(FileImages(Path(folder), names), shown, names)


def decoding(split, model, setting):
    """Images that a number of threads decode and resize in a second, without a network."""
    cores = os.cpu_count() or 1
    for threads in sorted({1, 2, 4, 8, 16, min(cores, 16)} & set(range(1, max(cores, 2) + 1))):
        given = ImageInputs(split.images, model.preprocessing, torch.device("cpu"))
        batches = split_batches(np.arange(len(split.ids)), BATCH)

        def decode(given=given, batches=batches, threads=threads):
            with ExitStack() as patched:
                patched.enter_context(patch.object(inputs, "_budget", lambda device: 0))
                patched.enter_context(
                    patch.object(inputs, "decoding_threads", lambda device: threads)
                )
                for _ in given._ahead(batches):
                    pass

        yield rate(f"decoding alone, {threads} threads", "images", len(split.ids), decode, setting)


def extraction(split, spec, model, setting):
    """Features from files, cache included, against the backbone alone."""
    name, compute = models.registry.resolve(spec), Compute(str(setting.device))
    backbone = model.frozen().to(setting.device, memory_format=torch.channels_last)
    given = ImageInputs(split.images, model.preprocessing, setting.device)
    size = _sizes(str(setting.device)).batch
    ready = torch.cat(list(given.stream(split_batches(np.arange(len(split.ids)), size))))

    def ours():
        with TemporaryDirectory() as folder, patch.dict(os.environ, LABELATTACK_CACHE=folder):
            features(split, name, compute=compute)

    yield compare(
        f"features of {spec.partition(':')[0]} from {len(ready)} JPEG files, float32", "images",
        len(ready), ours, "the bare backbone", bare_scoring(ready, backbone, size), setting,
    )  # fmt: skip
