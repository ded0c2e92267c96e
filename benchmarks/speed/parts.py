"""Time of partition aggregation beside one head: the same cells under both protocols.

    python benchmarks/speed/parts.py

Cells of VOC 2007 (LABELATTACK_DATA) in one process with one thread, features in the cache, the
protocols in turn; prints seconds a cell and the ratio of each round.
"""

import statistics
import time

import torch

from labelattack.benchmark.execution.grouping import groups
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.plan.grid import Grid
from labelattack.datasets import registry as datasets

ROUNDS, SEEDS = 3, 3
PROTOCOLS = "linear", "linear:parts=50"


def cells_of(protocol):
    dataset = str(datasets.resolve("voc:year=2007"))
    grid = Grid(
        dataset=dataset, model="efficientnet-lite0", protocol=protocol,
        attacks=("none", "targeted:rate=0.4"), defenses=("an", "wan", "pseudo-history"),
        seeds=tuple(range(SEEDS)), lrs=(1e-2,),
    )  # fmt: skip
    return grid.cells(datasets.create(dataset).load().fingerprint)


def seconds(cells):
    start = time.perf_counter()
    for group in groups(cells):
        for record in run_cells(group):
            assert record.status == "done", record.reason
    return (time.perf_counter() - start) / len(cells)


def main():
    torch.set_num_threads(1)
    cells = {protocol: cells_of(protocol) for protocol in PROTOCOLS}
    for each in cells.values():  # features, and what is imported late
        seconds(each[:1])
    ratios = {protocol: [] for protocol in PROTOCOLS}
    for _ in range(ROUNDS):
        found = {protocol: seconds(cells[protocol]) for protocol in PROTOCOLS}
        for protocol, took in found.items():
            ratios[protocol].append(took / found["linear"])
            print(f"{protocol:18} {took:6.2f} s a cell, {ratios[protocol][-1]:.2f} of linear")
    for protocol in PROTOCOLS[1:]:
        print(f"{protocol}: {statistics.median(ratios[protocol]):.2f} times linear, in the median")


if __name__ == "__main__":
    main()
