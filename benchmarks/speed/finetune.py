"""Training whole networks with the harness against a bare loop over preloaded tensors."""

import numpy as np
import torch
from side_by_side import compare

from labelattack import datasets, defenses, models
from labelattack.defenses.base import Task, to_step
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.seeding import permutation
from labelattack.training.inputs import ImageInputs
from labelattack.training.loop import fit
from labelattack.training.optimizer import AdamSettings, adam
from labelattack.training.recipe import Recipe

CPU, EPOCHS = torch.device("cpu"), 2
CASES = ("tiny", 1_600, 16), ("efficientnet-lite0:weights=none", 32, 16)


def rows():
    torch.set_num_threads(1)
    splits = datasets.create("digits").load()
    val = splits.val.take(np.arange(32))
    for model, images, batch_size in CASES:
        built = models.create(model)
        train = splits.train.take(np.arange(images))
        labels = PartialLabels.full(train.labels)
        inputs = [ImageInputs(part.images, built.preprocessing, CPU) for part in (train, val)]
        ready = [next(part.stream([np.arange(len(part))])) for part in inputs]
        recipe = Recipe(epochs=EPOCHS, lr=1e-3, batch_size=batch_size)

        def fresh(b=built, known=labels):
            loss = defenses.create("an")
            loss.bind(Task(labels=known))
            network = b.build(len(splits.classes), seed=0)
            return network.to(memory_format=torch.channels_last), loss

        def harness(i=inputs, known=labels, r=recipe, f=fresh):
            fit(
                *f(), *i, known, r, seed=0, device=CPU,
                validate=lambda scores: mean_average_precision(scores, val.labels),
            )  # fmt: skip

        def bare(r=ready, known=labels, recipe=recipe, f=fresh):
            network, loss = f()
            optimizer = adam([(AdamSettings(recipe.lr), network.parameters())], CPU)
            for epoch in range(1, EPOCHS + 1):
                network.train()
                order = torch.from_numpy(permutation(len(r[0]), 0, str(epoch)))
                for index in order.split(recipe.batch_size):
                    step = to_step(known, index, epoch=epoch, epochs=EPOCHS)
                    optimizer.zero_grad()
                    batch = r[0][index].contiguous(memory_format=torch.channels_last)
                    loss(network(batch), step).backward()
                    optimizer.step()
                network.eval()
                with torch.inference_mode():
                    mean_average_precision(network(r[1]).numpy(), val.labels)

        what = f"fine-tuning {model.partition(':')[0]}, {images:,} images, batch {batch_size}"
        yield compare(what, "a bare loop on preloaded tensors", harness, bare, "cost", 1.05)
