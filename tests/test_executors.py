"""The same grid on processes, on a Ray cluster that loses a machine, and on Slurm's interface."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution import executors
from labelattack.benchmark.execution.executors.ray import Ray
from labelattack.benchmark.execution.executors.slurm import Slurm
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.report.tables import to_json
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import LabelAttackError, ParameterError, UnknownNameError
from tests.test_benchmark import cells
from tests.test_cli import ONE


@pytest.fixture(scope="module")
def wanted():
    return cells(protocol="finetune", seeds=(0, 1, 2), epochs=2, lrs=(1e-2,))


@pytest.fixture(scope="module")
def local(wanted, tmp_path_factory):
    store = RecordStore(tmp_path_factory.mktemp("local") / "store")
    run_grid(wanted, store)
    return store


def test_executors_are_named_and_their_settings_checked():
    assert executors.create("ray:address=127.0.0.1:6379,gpus=0.25,retries=1") == Ray(
        address="127.0.0.1:6379", gpus=0.25, retries=1
    )
    with pytest.raises(UnknownNameError, match="unknown executor 'rya'; did you mean 'ray'"):
        executors.create("rya")
    with pytest.raises(ParameterError, match="'gpus' of executor 'ray' must be greater than"):
        executors.create("ray:gpus=-1")
    with pytest.raises(ParameterError, match="unknown parameter of executor 'slurm': 'gpu'"):
        executors.create("slurm:gpu=1")


ON_RAY = """
import json, os, sys, threading, time
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_health_check_period_ms"] = "500"  # the cluster misses its node sooner
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.2"}
)
other = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3")
ray.init(address=cluster.address, log_to_driver=False)
from labelattack.benchmark.execution.executors.ray import Ray
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.store.store import RecordStore
from tests.test_benchmark import cells

stored, killed = [], []

def finished(record):
    stored.append(record.key)
    if not killed:
        killed.append(len(stored))
        cluster.remove_node(other, allow_graceful=False)

wanted = cells(protocol="finetune", seeds=(0, 1, 2), epochs=2, lrs=(1e-2,))
done = run_grid(wanted, RecordStore(Path(sys.argv[1])), executor=Ray(), finished=finished)
deadline = time.monotonic() + 60
while (alive := sum(node["Alive"] for node in ray.nodes())) > 1 and time.monotonic() < deadline:
    time.sleep(0.5)
told = {"done": done, "killed_after": killed, "alive": alive, "stored": len(stored)}
Path(sys.argv[2]).write_text(json.dumps(told))  # Ray prints what it likes
ray.shutdown()
cluster.shutdown()
"""


def test_ray_survives_the_death_of_a_node_and_gives_the_same_board(wanted, local, tmp_path):
    """Two loopback addresses stand for two machines; 127.0.0.1 Ray takes for the real one."""
    pytest.importorskip("ray")
    result = subprocess.run(
        [sys.executable, "-c", ON_RAY, str(tmp_path / "store"), str(tmp_path / "told")],
        capture_output=True, encoding="utf-8", timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    told = json.loads((tmp_path / "told").read_text())
    assert told == {
        "done": len(wanted), "killed_after": [1], "alive": 1, "stored": len(wanted)
    }  # fmt: skip
    store = RecordStore(tmp_path / "store", create=False)
    assert to_json(boards(store)) == to_json(boards(local))
    assert all(store.weights(cell.key) is not None for cell in wanted)


NEEDS_SLURM = pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs sbatch")


@pytest.mark.parametrize("cluster", ["local", pytest.param("slurm", marks=NEEDS_SLURM)])
def test_slurm_gives_the_same_board(wanted, local, tmp_path, cluster):
    """Its jobs, run as processes of this machine, and by Slurm where there is one."""
    pytest.importorskip("submitit")
    store = RecordStore(tmp_path / "store")
    some = wanted[:2]
    assert run_grid(some, store, executor=Slurm(cluster=cluster, tasks=2)) == 2
    again = {record.key: record.test for record in store}
    assert again == {cell.key: local.get(cell.key).test for cell in some}
    assert not list(store.folder.rglob("*.pkl")) and list(tmp_path.rglob(".store-slurm/*"))


def test_what_fails_far_away_is_said_as_if_it_had_failed_here(tmp_path):
    pytest.importorskip("submitit")
    cell = cells()[0].model_copy(update={"fingerprint": "0123"})
    cell = type(cell)(**cell.model_dump())
    with pytest.raises(LabelAttackError, match="job .* did not: .*must have fingerprint 0123"):
        run_grid([cell], RecordStore(tmp_path / "s"), executor=Slurm(cluster="local"))


def test_a_job_that_is_killed_is_said(run, forgotten, tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    # For so many seconds it looks for the output of a job that has ended: slow network folders.
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from labelattack import PartialLabelLoss, defenses\n"
        "@defenses.register('deadly')\n"
        "class Deadly(PartialLabelLoss):\n"
        "    def loss(self, logits, step): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = run(
        *ONE, "--plugin", tmp_path / "deadly.py", "--defense", "deadly", "--no-reference",
        "--d-score", "none", "--executor", "slurm:cluster=local,memory=1", cwd=tmp_path, code=2,
    )  # fmt: skip
    assert "job of executor 'slurm' must end well, but job" in result.stderr
    assert "has not produced any output" in result.stderr


def test_what_slurm_refuses_is_said(refused, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    for name in ("srun", "sbatch"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho 'invalid partition specified: night' >&2\nexit 1\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = refused(
        *ONE, "--defense", "an", "--d-score", "none", "--executor", "slurm:partition=night", cwd=tmp_path
    )  # fmt: skip
    assert "must ask for what sbatch grants, got: invalid partition specified: night" in said
