"""The script that checks a GPU, tried on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labelattack.training.hardware import torch_settings_kept

GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"


def checked(*arguments):
    return subprocess.run(
        ["bash", GPU / "check.sh", *map(str, arguments)], capture_output=True, encoding="utf-8",
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results of the script behind the shell's, in this process, which has imported everything."""
    monkeypatch.syspath_prepend(GPU)
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "cache"))  # and is given back
    import check

    arguments = "--cpu", "--small", "--out", str(tmp_path / "gpu")
    monkeypatch.setattr(sys, "argv", ["check.py", *arguments])
    with torch_settings_kept():
        assert check.main() == 0
    folder = tmp_path / "gpu"
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


def test_operations_of_table_1_are_those_of_its_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(GPU)
    import table1

    rows = [
        {"what": "fine-tuning resnet50 at 448 px, images in memory", "ours": 9.0},
        {"what": "scoring with it at 448 px, float32", "ours": 2_000.0},
        {"what": "fine-tuning resnet50 at 448 px, from 512 JPEG files", "ours": 500.0},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"parts": {"fine-tuning": {"rows": rows}}}))
    monkeypatch.setattr(sys, "argv", ["table1.py", "--results", str(path)])
    table1.main()
    lines = capsys.readouterr().out.splitlines()
    # He et al. 2016 count 4.1 billion multiplications with additions at 224 pixels.
    score, train = (float(word) for word in lines[0].replace("An image takes ", "").split()[::5])
    assert score == pytest.approx(4 * 2 * 4.1, rel=0.01)
    assert train == pytest.approx(3 * score, rel=0.02)  # the images have no gradient
    # 5,717 images of VOC 2012's train list, a fifth of them held out; 5,823 of its val list.
    runs = (7 * 4 + 1) * 8 * 5  # attacks x losses and the reference, recipes, seeds
    trained, scored = runs * 10 * 4_574, runs * (10 * 1_143 + 5_823)
    hours = (trained / 500 + scored / 2_000) / 3_600
    work = (trained * train + scored * score) / 1e6
    (voc,) = (one for one in lines if one.startswith("| voc:year=2012 |"))
    cells = [cell.strip().replace(",", "") for cell in voc.strip("|").split("|")][1:]
    assert cells[:3] == [str(runs), f"{trained / 1e6:.1f} M", f"{scored / 1e6:.1f} M"]
    assert float(cells[3]) == pytest.approx(work, rel=0.01)
    assert float(cells[4]) == pytest.approx(work * 1e3 / 100 / 3_600, abs=0.6)
    assert float(cells[5]) == pytest.approx(hours, abs=0.6)
