"""A loss of this package in a training loop of one's own, on labels with gaps."""

import torch
from torch import nn

from labelattack import defenses
from labelattack.defenses.base import Task, to_step
from labelattack.labels import decode

EPOCHS, BATCH = 8, 32

# 200 inputs, 5 labels; of the labels -1 is unknown, 1 present, 0 absent.
torch.manual_seed(0)
inputs = torch.randn(200, 10)
truth = (inputs @ torch.randn(10, 5) > 1).int()
matrix = torch.where(truth.bool() & (torch.rand(200, 5) < 0.6), 1, -1)

labels = decode(matrix.numpy(), "missing")
loss = defenses.create("em-apl:preset=voc,warmup=2")
loss.bind(Task(labels=labels))

network = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(
    [
        {"params": network.parameters(), "lr": 1e-3},
        {"params": loss.parameters(), "lr": 1e-3 * loss.lr_scale},  # of role; most have none
    ]
)
for epoch in range(1, EPOCHS + 1):
    network.train()
    for rows in torch.randperm(len(inputs)).split(BATCH):
        optimizer.zero_grad()
        value = loss(network(inputs[rows]), to_step(labels, rows, epoch=epoch, epochs=EPOCHS))
        value.backward()
        optimizer.step()
    # Losses that choose among all images need this; the others do nothing with it.
    network.eval()
    everything = to_step(labels, torch.arange(len(inputs)), epoch=epoch, epochs=EPOCHS)
    with torch.no_grad():
        loss.end_epoch(network(inputs), everything)
print(f"loss {value.item():.3f}, soft labels for {int((loss.soft >= 0).sum())} unknown entries")
