"""Batch normalisation and the ways in which a batch is divided."""

import numpy as np
import pytest
import torch
from torch import nn

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.images import ArrayImages
from labelattack.defenses import create
from labelattack.errors import LabelAttackError
from labelattack.labels import PartialLabels
from labelattack.models.base import Preprocessing
from labelattack.training.inputs import ImageInputs, split_batches
from labelattack.training.loop import fit
from labelattack.training.recipe import Recipe
from tests.conftest import SMALL_DIGITS

CPU = torch.device("cpu")
PLAIN = Preprocessing(None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flip=False)


class Counts(nn.Module):
    """One number a channel: batch normalisation of a single image has no variance."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.seen = nn.Linear(12, 2), nn.BatchNorm1d(2), []

    def forward(self, images):
        if self.training:
            self.seen.append(len(images))
        return self.norm(self.linear(images.flatten(1)))


def train(images, *, batch_size, micro_batch=None):
    pixels = np.random.default_rng(0).integers(0, 255, (images, 2, 2), dtype=np.uint8)
    inputs = ImageInputs(ArrayImages(pixels), PLAIN, CPU)
    labels = PartialLabels.full(np.arange(2 * images).reshape(images, 2) % 3 == 0)
    network = Counts()
    recipe = Recipe(epochs=1, lr=1e-3, batch_size=batch_size, micro_batch=micro_batch)
    found = fit(
        network, create("an"), inputs, inputs, labels, recipe, seed=0, device=CPU,
        validate=lambda scores: 0.5,
    )  # fmt: skip
    assert np.isfinite(found.epochs[0].loss)
    return network.seen


@pytest.mark.parametrize(
    ("images", "sizes", "seen"),
    [
        (9, {"batch_size": 4}, [4, 5]),
        (8, {"batch_size": 4}, [4, 4]),
        (10, {"batch_size": 4}, [4, 4, 2]),
        (5, {"batch_size": 5, "micro_batch": 2}, [2, 3]),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before(images, sizes, seen):
    counted = train(images, **sizes)
    # Divided batches pass the network twice: for the loss, and for the gradients.
    assert counted in (seen, seen * 2)


@pytest.mark.parametrize("sizes", [{"batch_size": 1}, {"batch_size": 4, "micro_batch": 1}])
def test_batches_of_one_are_refused_where_they_have_no_variance(sizes):
    with pytest.raises(LabelAttackError, match="more than one image at a time.*--batch-size"):
        train(8, **sizes)


@pytest.mark.parametrize("rows", range(12))
@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_hold_every_row_once(rows, size):
    for least in (1, 2, 3):
        batches = split_batches(np.arange(rows), size, least=least)
        assert np.array_equal(np.concatenate([*batches, []]), np.arange(rows))
        small = [len(batch) for batch in batches if len(batch) < least]
        assert not small or size < least or rows < least


def grid_of(micro_batch):
    grid = Grid(
        dataset=SMALL_DIGITS, model="tiny", protocol="finetune", attacks=("none",), defenses=("an",),
        seeds=(0,), epochs=1, reference=False, lrs=(1e-3,), batch_sizes=(16,), micro_batch=micro_batch,
    )  # fmt: skip
    return grid.cells(load(SMALL_DIGITS).fingerprint)


def test_the_record_says_that_micro_batches_change_what_is_normalised(tmp_path):
    store = RecordStore(tmp_path / "store")
    run_grid(grid_of(4), store)
    (record,) = store
    said = "batch normalisation over micro-batches of 4, not batches of 16"
    assert record.caveats == (said,)
    (board,) = boards(store)
    assert said in board.rows[0].notes


def test_without_micro_batches_there_is_nothing_to_say(tmp_path):
    store = RecordStore(tmp_path / "store")
    run_grid(grid_of(None) + grid_of(16), store)
    assert [record.caveats for record in store] == [(), ()]
