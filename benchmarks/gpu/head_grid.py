"""Training a thousand linear heads at once, at the sizes of VOC and of COCO.

ResNet-50's 2,048 channels. The limit is the memory traffic of Adam: seven reads and writes of each
parameter and step, at the bandwidth of a large copy on the device, measured in the same run.
"""

import numpy as np
import torch
from timing import Throughput, rate, seconds
from torch import nn

from labelattack import attacks, defenses
from labelattack.defenses.base import Task
from labelattack.training.inputs import FeatureInputs
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import ValidationLabels
from labelattack.training.vectorized import heads

CHANNELS, BATCH = 2_048, 16
BYTES = 7 * 4  # a parameter: Adam reads it, its slope and two means, and writes three of them
CPU = torch.device("cpu")


def rows(setting):
    yield from at_size("VOC's size", 4_006, 20, 10, setting)
    # An epoch of COCO takes 5,130 steps; a tenth of its images shows what one costs.
    yield from at_size("COCO's labels, a tenth of its images", 8_208, 80, 2, setting)
    if setting.device.type == "cuda":
        yield from graphs(setting)


def at_size(what, images, labels, epochs, setting):
    """Cells a second, in groups of several sizes, against two cores and against memory."""
    images, channels = setting.size(images, 60), setting.size(CHANNELS, 8)
    labels, epochs = setting.size(labels, 4), setting.size(epochs, 1)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(images + images // 4, channels)).astype(np.float32)
    truth = rng.random((len(features), labels)) < 0.1
    limit = bound(images, labels, channels, epochs, setting)
    few = setting.size(8, 4)
    on_cpu = trained(few, features, truth, images, epochs, CPU)
    # Each core has a process of its own, with one thread.
    alone = 2 * few / seconds(on_cpu, CPU)
    for together in setting.size((128, 512, 1_000), (12,)):
        call = trained(together, features, truth, images, epochs, setting.device)
        name = f"{together} linear heads at once, {what}, {epochs} epochs, validation"
        mine = rate(name, "heads", together, call, setting, rounds=1, warm_up=False)
        for against, theirs, goal in (
            ("two cores of this machine", alone, 20.0), ("Adam's memory traffic", limit, None),
        ):  # fmt: skip
            wanted = None if setting.small or together < 1_000 else goal
            share = (mine.ours / theirs,) * 3
            yield Throughput(name, "heads", mine.ours, against, theirs, share, wanted)


def trained(count, features, truth, images, epochs, device):
    """A function that trains so many heads: five seeds, two losses, three learning rates."""
    train = FeatureInputs(features[:images], device)
    val = FeatureInputs(features[images:], device)
    hidden = [attacks.create("random:rate=0.4")(truth[:images], seed=seed) for seed in range(5)]
    chosen = ValidationLabels(truth[images:], None, "made up")

    def run(number):
        labels = hidden[number % 5]
        loss = defenses.create(("an", "wan")[number // 5 % 2])
        loss.bind(Task(labels=labels, expected_positives=2.0))
        return TrainingRun(
            network=nn.Linear(features.shape[1], truth.shape[1]), loss=loss,
            kind=type(loss).__name__, labels=labels, validation=chosen, seed=number % 5,
            recipe=Recipe(epochs=epochs, lr=(3e-3, 1e-3, 3e-4)[number // 10 % 3], batch_size=BATCH),
        )  # fmt: skip

    def call():
        torch.set_num_threads(1)
        # Half of each loss is a group, as the harness has one defense in a group.
        runs = [run(number) for number in range(count)]
        for kind in dict.fromkeys(each.kind for each in runs):
            found = heads.fit_heads([r for r in runs if r.kind == kind], train, val)
            failed = [fit for fit in found if isinstance(fit, Exception)]
            if failed:
                raise failed[0]

    return call


def bound(images, labels, channels, epochs, setting):
    """Heads a second that Adam's memory traffic allows."""
    size = setting.size(1 << 30, 1 << 20) // 4
    source = torch.ones(size, device=setting.device)
    target = torch.empty_like(source)
    target.copy_(source)
    took = min(seconds(lambda: target.copy_(source), setting.device) for _ in range(5))
    steps = epochs * -(-images // BATCH)
    return 2 * source.nbytes / took / (BYTES * (channels + 1) * labels * steps)


def graphs(setting):
    """A step of 500 heads launched kernel by kernel, and as one CUDA graph."""
    count, labels, steps = 500, 20, 200
    features = torch.randn(4_006, CHANNELS, device=setting.device)
    weight = torch.zeros(count * labels, CHANNELS, device=setting.device, requires_grad=True)
    targets = (torch.rand(BATCH, count * labels, device=setting.device) < 0.1).float()
    batch = features[:BATCH].clone()
    optimizer = torch.optim.Adam([weight], lr=1e-3, fused=True, capturable=True)

    def step():
        optimizer.zero_grad(set_to_none=False)
        logits = batch @ weight.T
        nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
        optimizer.step()

    weight.grad = torch.zeros_like(weight)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    launched = steps / seconds(lambda: [step() for _ in range(steps)], setting.device)
    replayed = steps / seconds(lambda: [graph.replay() for _ in range(steps)], setting.device)
    what = "a bare step of 500 heads as a CUDA graph"
    share = (replayed / launched,) * 3
    yield Throughput(what, "steps", replayed, "kernel by kernel", launched, share)
