"""The grid of the linear protocol: side by side, one by one, as a plain loop, and the bound.

4 attacks × 5 defenses × 8 recipes × 2 seeds, 10 epochs, on VOC 2007 features (LABELATTACK_DATA),
or on made-up features of the same shape. Attack, training, validation after each epoch and the test
score are in all sides. One thread. The batched side is the whole grid. The others would take most
of an hour, so they run one cell of each defense and batch size in each round, another each time,
and count for all of these.
"""

import random
from collections import defaultdict

import torch
from side_by_side import row, seconds
from sklearn.metrics import average_precision_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from labelattack import attacks, defenses
from labelattack.benchmark.execution.context import load, prepared
from labelattack.benchmark.execution.grouping import groups
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.plan.grid import Grid
from labelattack.datasets import registry as datasets
from labelattack.defenses.base import Step, Task
from labelattack.models import registry as models

ATTACKS = "single-positive", "targeted:rate=0.2", "targeted:rate=0.4", "random:rate=0.4"
DEFENSES = "an", "wan", "epr", "role", "pseudo-history"
LRS, BATCH_SIZES, SEEDS, EPOCHS = (3e-3, 1e-3, 3e-4, 1e-4), (8, 16), (0, 1), 10
BYTES = 7 * 4  # a parameter: Adam reads it, its slope and two means, and writes three of them


def cells():
    grid = Grid(
        dataset="voc:year=2007", model="efficientnet-lite0", protocol="linear", attacks=ATTACKS,
        defenses=DEFENSES, seeds=SEEDS, epochs=EPOCHS, lrs=LRS, batch_sizes=BATCH_SIZES,
        reference=False,
    )  # fmt: skip
    return grid.cells(load(str(datasets.resolve(grid.dataset))).fingerprint)


def plain(cell):
    """The same run the way published research code does it."""
    splits = load(cell.dataset)
    ready = prepared(cell.dataset, models.resolve(cell.model), "linear", "cpu")
    train, val, test = (part.features for part in (ready.train, ready.val, ready.test))
    attack = attacks.create(cell.attack)
    attacked = attack(splits.train.labels, seed=cell.seed)
    hidden_val = attack(splits.val.labels, seed=cell.seed + 1)
    loss = defenses.create(cell.defense)
    loss.bind(Task(labels=attacked, seed=cell.seed, expected_positives=splits.expected_positives))
    torch.manual_seed(cell.seed)
    head = nn.Linear(train.shape[1], len(splits.classes))
    optimizer = torch.optim.Adam(
        [
            {"params": head.parameters()},
            {"params": loss.parameters(), "lr": loss.lr_scale * cell.recipe.lr},
        ],
        lr=cell.recipe.lr,
    )
    data = TensorDataset(
        train, torch.from_numpy(attacked.positives.copy()),
        torch.from_numpy(attacked.negatives.copy()), torch.arange(len(train)),
    )  # fmt: skip
    loader = DataLoader(data, batch_size=cell.recipe.batch_size, shuffle=True)
    best, state = -1.0, {}
    for epoch in range(1, EPOCHS + 1):
        for features, positives, negatives, index in loader:
            step = Step(
                positives=positives, negatives=negatives, index=index, epoch=epoch, epochs=EPOCHS
            )
            optimizer.zero_grad()
            loss(head(features), step).backward()
            optimizer.step()
        score = _scored(head, val, hidden_val.values)
        if score > best:
            best = score
            state = {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(state)
    return _scored(head, test, splits.test.labels)


@torch.no_grad()
def _scored(head, features, labels):
    there = labels.any(axis=0)
    return average_precision_score(labels[:, there], head(features).numpy()[:, there])


def bandwidth():
    """Bytes a second that a copy reads and writes, beyond any cache."""
    source, target = torch.ones(2, 64 << 20)
    took = min(seconds(lambda: target.copy_(source))[0] for _ in range(5))
    return 2 * source.nbytes / took


def moved(cell):
    """Bytes that Adam moves: of the head, and of what the loss learns."""
    images, labels = load(cell.dataset).train.labels.shape
    channels = models.create(cell.model).channels
    learned = images * labels if cell.defense.startswith("role") else 0
    steps = EPOCHS * -(-images // cell.recipe.batch_size)
    return BYTES * steps * ((channels + 1) * labels + learned)


def rows(rounds=3):
    torch.set_num_threads(1)
    found = cells()
    kinds = defaultdict(list)
    for cell in found:
        kinds[cell.defense, cell.recipe.batch_size].append(cell)
    list(run_cells(found[:2])), plain(found[0])
    choose = random.Random(0)
    sides = {name: [0.0] * rounds for name in ("together", "one", "plain", "bound")}
    for number in range(rounds):
        parts = groups(found)
        for place, part in enumerate(parts):
            took, records = seconds(lambda part=part: list(run_cells(part)))
            assert all(record.status == "done" for record in records)
            sides["together"][number] += took
            # In between, its share of what stands for the slow sides.
            for members in list(kinds.values())[place :: len(parts)]:
                cell = choose.choice(members)
                for name, side in (("one", lambda c: list(run_cells([c]))), ("plain", plain)):
                    took, _ = seconds(lambda side=side, cell=cell: side(cell))
                    sides[name][number] += len(members) * took
        sides["bound"][number] = sum(map(moved, found)) / bandwidth()
    per_cell = {name: [t / len(found) for t in times] for name, times in sides.items()}
    what = f"a cell of {len(found)}, linear protocol, {EPOCHS} epochs"
    for name, other, kind, goal in (
        ("one", "one by one, same code", "speedup", 5.0),
        ("plain", "a plain loop with a DataLoader", "speedup", 8.0),
        ("bound", "Adam's memory traffic", "cost", 2.5),
    ):
        yield row(what, other, per_cell["together"], per_cell[name], kind, goal)
