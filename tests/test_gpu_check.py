"""The script that checks a GPU, tried on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"


def checked(*arguments):
    return subprocess.run(
        ["bash", GPU / "check.sh", *map(str, arguments)], capture_output=True, encoding="utf-8",
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    done = checked("--cpu", "--small", "--out", folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads((folder / "results.json").read_text()), (folder / "results.md").read_text()


def test_it_runs_to_its_end_on_a_cpu(results):
    found, table = results
    assert list(found["parts"]) == [
        "tests", "agreement", "heads", "ranking", "fine-tuning", "evasion",
    ]  # fmt: skip
    assert "to try the script: nothing here is a measurement" in found["machine"]
    assert table.startswith(found["machine"])
    for name, part in found["parts"].items():
        assert not part["failed"] and part["peak_mib"] > 0 and f"**{name}**" in table
        assert bool(part["rows"]) == (name != "tests")
        for line in part["lines"]:
            assert line in table
    rows = [row for part in found["parts"].values() for row in part["rows"]]
    assert all(row["ours"] > 0 for row in rows if row["kind"] == "Throughput")
    assert all(row["difference"] <= row["tolerance"] for row in rows if row["kind"] == "Agreement")
    # In a small setting nothing is wanted of a speed.
    assert {row["goal"] for row in rows if row["kind"] == "Throughput"} == {None}


def test_without_a_gpu_it_says_what_to_do(tmp_path):
    done = checked("--out", tmp_path / "out")
    if not done.returncode:
        pytest.skip("there is a GPU")
    assert done.returncode == 2 and "--cpu --small tries the script" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_costs_no_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(GPU)
    import check
    from timing import Setting, Throughput

    class Broken:
        @staticmethod
        def rows(setting):
            yield Throughput("one thing", "images", 2.0, "another", 4.0, (0.5, 0.4, 0.6), 0.9)
            raise RuntimeError("CUDA error: an illegal memory access\nmore")

    import torch

    monkeypatch.setitem(sys.modules, "broken", Broken)
    monkeypatch.setitem(check.MODULES, "heads", "broken")
    parts = {}
    faults = check.run_part("heads", Setting(torch.device("cpu"), False), parts, tmp_path)
    assert faults == [
        "one thing: 0.50 of another, at least 0.9 is wanted",
        "heads: RuntimeError: CUDA error: an illegal memory access",
    ]
    check.write({"machine": "a card", "parts": parts}, tmp_path)
    table = (tmp_path / "results.md").read_text()
    assert "**does not hold**" in table and "Failed: RuntimeError: CUDA error" in table
