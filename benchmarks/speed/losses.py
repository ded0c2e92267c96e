"""A cell of each loss against a cell of `an`, in groups as a benchmark trains them.

Linear protocol on VOC 2007 features (LABELATTACK_DATA), one thread, 10 epochs. Each side is a group
of 24 heads of one defense under two attacks: attack, training, validation after each epoch and
the test score are in it. In each round `an` runs before and after every few losses, and a loss is
compared with the mean of the two.
"""

from functools import cache

import torch
from side_by_side import row, seconds

from labelattack import defenses
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.plan.grid import Grid
from labelattack.datasets import registry as datasets

ATTACKS = "random:rate=0.4", "targeted:rate=0.4"
SEEDS, LRS, EPOCHS = (0, 1, 2), (3e-3, 1e-3, 3e-4, 1e-4), 10
OTHERS = (
    "large-loss:mode=correct", "large-loss:mode=correct-permanently", "iu:normaliser=known",
    "pseudo-threshold:threshold=class-quantile",
)  # fmt: skip
BETWEEN = 3  # losses between two runs of `an`


def specs():
    """Every defense that trains in groups and needs no side table; one on maps trains alone."""
    found = []
    for name in defenses.registry.names():
        loss = defenses.create(name)
        if name != "an" and "scores" not in loss.side_tables and loss.activation_scale == 1:
            found.append(name)
    return sorted([*found, *OTHERS])


@cache
def cells(defense):
    grid = Grid(
        dataset="voc:year=2007", model="efficientnet-lite0", protocol="linear", attacks=ATTACKS,
        defenses=(defense,), seeds=SEEDS, epochs=EPOCHS, lrs=LRS, batch_sizes=(16,),
        reference=False,
    )  # fmt: skip
    return grid.cells(load(str(datasets.resolve(grid.dataset))).fingerprint)


def timed(defense):
    took, records = seconds(lambda: list(run_cells(cells(defense))))
    assert all(record.status == "done" for record in records), records[0].reason
    return took / len(records)


def kept(defense):
    """Whether a loss keeps state, or wants predictions at the end of an epoch."""
    name, _, rest = defense.partition(":")
    cls = defenses.registry.get(name)
    # Of large losses, one mode marks entries.
    marks = cls.per_image_state and (name != "large-loss" or "permanently" in rest)
    return bool(marks) or cls.ends_epochs()


def rows(rounds=3):
    torch.set_num_threads(1)
    timed("an")
    wanted = specs()
    own = {name: [] for name in wanted}
    base = {name: [] for name in wanted}
    for _ in range(rounds):
        before = timed("an")
        for start in range(0, len(wanted), BETWEEN):
            some = wanted[start : start + BETWEEN]
            for name in some:
                own[name].append(timed(name))
            after = timed("an")
            for name in some:
                base[name].append((before + after) / 2)
            before = after
    for name in wanted:
        state = kept(name)
        what = f"a cell of {name}" + (", with state" if state else "")
        yield row(what, "an", own[name], base[name], "cost", 3.0 if state else 1.6)
