"""A loss of this package in a training loop of one's own, on labels with gaps."""

import torch
from torch import nn

from labelattack import Criterion

EPOCHS, BATCH = 8, 32

# 200 inputs, 5 labels; of the labels -1 is unknown, 1 present, 0 absent.
torch.manual_seed(0)
inputs = torch.randn(200, 10)
truth = inputs @ torch.randn(10, 5) > 1
labels = torch.where(truth & (torch.rand(200, 5) < 0.6), 1, -1)

network = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
criterion = Criterion("em-apl:preset=voc,warmup=2", labels=labels)
optimizer = torch.optim.Adam(
    [{"params": network.parameters()}, *criterion.parameter_groups(1e-3)], lr=1e-3
)
for epoch in range(1, EPOCHS + 1):
    criterion.set_epoch(epoch, EPOCHS)
    network.train()
    for rows in torch.randperm(len(inputs)).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(network(inputs[rows]), labels[rows], rows)
        loss.backward()
        optimizer.step()
    # Losses that choose among all images need this; the others do nothing with it.
    network.eval()
    with torch.no_grad():
        criterion.end_epoch(network(inputs))
soft = int((criterion.loss.soft >= 0).sum())
print(f"loss {loss.item():.3f}, soft labels for {soft} unknown entries")
