"""A loss with a table of estimates in two processes: torchrun --nproc-per-node 2 ddp_loop.py."""

import sys

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from labelattack import Criterion

EPOCHS, BATCH = 3, 20


def main(out=None):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    inputs = torch.randn(200, 10)
    labels = torch.where(inputs @ torch.randn(10, 5) > 1, 1, -1)
    data = TensorDataset(inputs, labels, torch.arange(200))
    sampler = DistributedSampler(data)
    network = DistributedDataParallel(nn.Linear(10, 5))
    # The criterion sees the batches of all processes as one, and is the same in each of them.
    criterion = Criterion("role", labels=labels, expected_positives=1.0)
    groups = [{"params": network.parameters()}, *criterion.parameter_groups(1e-2)]
    optimizer = torch.optim.Adam(groups, lr=1e-2)
    for epoch in range(1, EPOCHS + 1):
        criterion.set_epoch(epoch, EPOCHS)
        sampler.set_epoch(epoch)
        for x, y, rows in DataLoader(data, BATCH, sampler=sampler):
            optimizer.zero_grad()
            criterion(network(x), y, rows).backward()
            optimizer.step()
    state = {**network.module.state_dict(), **criterion.state_dict()}
    tables = [None] * distributed.get_world_size()
    distributed.all_gather_object(tables, criterion.loss.estimates.detach())
    if distributed.get_rank() == 0:
        equal = all(torch.equal(table, tables[0]) for table in tables)
        print(f"tables of {len(tables)} processes are equal: {equal}")
        if out is not None:
            torch.save(state, out)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
