"""A device's results against those of the CPU."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from timing import Agreement

from labelattack import attacks, defenses, measures
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.measures.request import MeasureRequest
from labelattack.metrics.average_precision import mean_average_precisions
from labelattack.process_cache import forget
from labelattack.testing.defenses import _trained
from labelattack.training.vectorized.device_maps import maps_of

CPU = torch.device("cpu")
# float32 has seven digits: sums over a batch in another order differ in the last two.
LOSS, MAP, BOARD, D_SCORE = 1e-4, 1e-9, 1.0, 0.05
# Training in bfloat16 (8 bits) is another training: each run may end elsewhere.
REDUCED = {"mAP": 10.0, "D-Score": 0.3}


def rows(setting):
    yield of_losses(setting)
    yield of_maps(setting)
    yield from of_boards(setting)


def of_losses(setting):
    """Values, gradients and state of every loss over three epochs, the last on the other device."""
    greatest = 0.0
    names = sorted(defenses.registry.names())
    for name in setting.size(names, names[:3]):
        usual = _trained(name, CPU, CPU)
        for first, then in ((setting.device, CPU), (CPU, setting.device)):
            for mine, theirs in zip(_trained(name, first, then), usual, strict=True):
                scale = theirs.double().abs().clamp(min=1)
                gap = (mine.double() - theirs.double()).abs() / scale
                greatest = max(greatest, float(gap.max()) if gap.numel() else 0.0)
    how = "difference, relative to sizes above 1,"
    return Agreement("losses: values, gradients, state", greatest, LOSS, how)


def of_maps(setting):
    rng = np.random.default_rng(0)
    shape = setting.size((40, 1_002, 20), (3, 50, 4))
    scores, truth = rng.normal(size=shape).round(2).astype(np.float32), rng.random(shape) < 0.1
    found = maps_of(torch.from_numpy(scores).to(setting.device), truth)
    gap = np.abs(found - mean_average_precisions(scores, truth)).max()
    return Agreement("mAP of equal scores, with ties", float(gap), MAP, "difference")


def of_boards(setting):
    """Boards of both protocols, with the D-Score, and the labels that attacks leave."""
    for protocol in setting.size(("linear", "finetune"), ("linear",)):
        (labels, here), (hidden, there) = (
            board(setting, protocol, str(device)) for device in (CPU, setting.device)
        )
        reduced = protocol == "finetune" and setting.device.type == "cuda"
        other = sum(labels[key] != hidden[key] for key in labels)
        what = f"labels that attacks leave, {len(labels)} cells, {protocol}"
        yield Agreement(what, other, 0, "cells that differ:")
        for name, allowed in (("mAP", BOARD), ("D-Score", D_SCORE)):
            gap = max(abs(there[row][name] - here[row][name]) for row in here)
            what = f"{name}, {len(here)} rows of boards, {protocol}"
            yield Agreement(what, gap, REDUCED[name] if reduced else allowed, "difference")


def board(setting, protocol, device):
    """Digests of the attacked labels of each cell, and mAP (in points) and D-Score of each row."""
    names = [d.name for d in attacks.registry.declarations() if d.name != "mask"]
    whole = protocol == "finetune"  # takes most of the time
    uninformed = [name for name in names if not attacks.create(name).needs]
    grid = Grid(
        dataset=setting.size("digits:train=400,val=200,test=300", "digits:train=40,val=30,test=40"),
        model="tiny", protocol=protocol, reference=False, seeds=(0, 1), lrs=(3e-3,),
        attacks=("targeted", "random") if setting.small or whole else tuple(uninformed),
        defenses=setting.size(("an", "role", "pseudo-history"), ("an",)),
        epochs=1 if setting.small else 3 if whole else 10, batch_sizes=(16,),
    )  # fmt: skip
    request = MeasureRequest.of(measures.create(f"d-score:images={setting.size(50, 5)},grid=3"))
    forget()
    cells = grid.cells(load(str(datasets.resolve(grid.dataset))).fingerprint)
    with TemporaryDirectory() as folder:
        store = RecordStore(Path(folder))
        run_grid(cells, store, RunOptions(device=device, measures=request))
        records = [store.get(cell.key) for cell in cells]
    failed = [record.reason for record in records if record.status != "done"]
    if failed:
        raise RuntimeError(f"{len(failed)} cells failed on {device}, the first with: {failed[0]}")
    found = {
        (row.attack, row.defense): {
            "mAP": row.map, "D-Score": row.measured["d-score"].d_score or 0.0,
        }
        for made in boards(records)
        for row in made.rows
        if "d-score" in row.measured
    }  # fmt: skip
    return {record.cell.key: record.removal.attacked_labels for record in records}, found
