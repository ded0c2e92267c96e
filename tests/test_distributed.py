"""However the work on one network is divided, the numbers are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelattack.benchmark.store.store import RecordStore
from tests.conftest import exit_code, registered_within

PLAIN = '''
"""A network without batch normalisation, which alone depends on how a batch is divided."""
from dataclasses import dataclass
from torch import nn
from labelattack import models
from labelattack.models.base import Model, Preprocessing

@models.register("plain")
@dataclass(frozen=True, kw_only=True)
class Plain(Model):
    """Two convolutions."""
    channels = 16
    def backbone(self):
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
    @property
    def preprocessing(self):
        return Preprocessing(None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flip=True)
'''
# Neither 70 nor 31 nor 41 is divided by the processes and batches; the parts have to be filled up.
BENCH = [
    "bench", "--dataset", "digits:train=70,val=31,test=41", "--model", "plain", "--defense", "role",
    "--defense", "pseudo-history", "--defense", "epr", "--defense", "em-apl:warmup=1", "--attack", "random", "--seeds", "1", "--epochs", "3",
    "--lr", "0.003", "--batch-size", "16", "--d-score", "images=20,grid=3,resamples=20", "--json",
    "--robustness", "evasion:steps=2,images=20,corruption:images=10",
]  # fmt: skip

TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m",
)  # fmt: skip


def bench(folder, name, *extra):
    (folder / "plain.py").write_text(PLAIN)
    return [*BENCH, "--plugin", "plain.py", "--out", name, *extra]


def in_two_processes(folder, name, *extra):
    return subprocess.run(
        [*TORCHRUN, "labelattack", *bench(folder, name, *extra)], cwd=folder,
        capture_output=True, encoding="utf-8", timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def in_this_process(folder, name, *extra):
    with pytest.MonkeyPatch.context() as patched, registered_within():
        patched.setenv("LABELATTACK_CACHE", str(folder / "cache"))
        assert exit_code(patched, folder, bench(folder, name, "--jobs", "1", *extra)) == 0
    return records(folder, name)


def records(folder, name):
    found = list(RecordStore(folder / name, create=False))
    return {(r.cell.defense, r.cell.attack): r for r in found}


def assert_same_numbers(mine, theirs):
    assert mine.keys() == theirs.keys() and len(mine) == 5
    for name, record in mine.items():
        other = theirs[name]
        assert record.status == "done", record.reason
        for one, two in zip(record.epochs, other.epochs, strict=True):
            assert one.loss == pytest.approx(two.loss, abs=1e-5)
            assert one.val_map == pytest.approx(two.val_map, abs=1e-4)
        assert record.test.per_class == pytest.approx(other.test.per_class, abs=1e-4)
        assert record.outcomes["d-score"].robustness == pytest.approx(
            other.outcomes["d-score"].robustness, abs=1e-4
        )
        assert record.outcomes["evasion"].map == pytest.approx(
            other.outcomes["evasion"].map, abs=1e-3
        )
        assert record.outcomes["corruption"].map == pytest.approx(
            other.outcomes["corruption"].map, abs=1e-3
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return in_this_process(tmp_path_factory.mktemp("alone"), "one")


def test_two_processes_equal_one(tmp_path, alone):
    result = in_two_processes(tmp_path, "two")
    assert result.returncode == 0, result.stderr[-2000:]
    (board,) = json.loads(result.stdout)  # only one of them prints
    assert len(board["rows"]) == 5
    assert_same_numbers(records(tmp_path, "two"), alone)
    # What is measured later is measured by one of them, while the others wait.
    later = in_two_processes(tmp_path, "two", "--bootstrap", "20")
    assert later.returncode == 0, later.stderr[-2000:]
    assert {record.test.resamples for record in records(tmp_path, "two").values()} == {20}


def test_micro_batches_equal_whole_ones(tmp_path, alone):
    found = in_this_process(tmp_path, "parts", "--micro-batch", "5")
    assert {r.cell.recipe.micro_batch for r in found.values()} == {5}
    assert_same_numbers(found, alone)


def test_heads_are_not_divided(tmp_path):
    result = in_two_processes(tmp_path, "two", "--protocol", "linear")
    assert (
        result.returncode != 0 and "torchrun must be used with --protocol finetune" in result.stderr
    )


LEAVES = """
import sys
from pathlib import Path
import torch
from labelattack.training.distributed import all_gather, data_parallel, process_group

def train():
    network = data_parallel(torch.nn.Linear(4, 2), torch.device("cpu"))
    network(all_gather(torch.ones(3, 4), 6)).sum().backward()

with process_group(torch.device("cpu")):
    train()
sys.exit(sum("gloo" in (task / "comm").read_text() for task in Path("/proc/self/task").iterdir()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to see threads")
def test_no_thread_of_a_team_outlives_it(tmp_path):
    """One that wants the interpreter when that has ended aborts a process that has done its work."""
    (tmp_path / "leaves.py").write_text(LEAVES)
    result = subprocess.run(
        [*TORCHRUN[:-1], tmp_path / "leaves.py"], capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
