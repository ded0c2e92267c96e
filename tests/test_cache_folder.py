"""Where the cache is when there is no home folder, or none that can be written."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labelattack.errors import StoreError
from labelattack.files import storage
from labelattack.files.storage import cache_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """No home folder, and temporary files of this test alone."""
    for name in ("LABELATTACK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    if hasattr(storage, "_temporary"):
        storage._temporary.cache_clear()
    return tmp_path


def fallback():
    with pytest.warns(UserWarning, match="LABELATTACK_CACHE names another folder") as warned:
        found = cache_folder()
        assert cache_folder() == found
    assert len(warned) == 1 and str(found) in str(warned[0].message)
    return found


def test_without_a_home_folder_it_is_among_the_temporary_files(temporary):
    found = fallback()
    assert found == temporary / f"labelattack-{os.getuid()}"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert not (temporary / "nowhere").exists()


def test_a_home_that_is_no_folder(temporary):
    (temporary / "nowhere").touch()
    assert fallback().parent == temporary


def test_a_user_without_a_home_that_nobody_knows(temporary, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert fallback().parent == temporary


def test_a_home_that_cannot_be_written(temporary, monkeypatch):
    (temporary / "nowhere").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "nowhere" not in str(path))
    assert fallback().parent == temporary


@pytest.mark.parametrize("kind", ["link", "open to others", "file"])
def test_a_folder_that_may_be_somebody_elses_is_not_used(temporary, kind):
    there = temporary / f"labelattack-{os.getuid()}"
    if kind == "link":
        (temporary / "other").mkdir(mode=0o700)
        there.symlink_to(temporary / "other")
    elif kind == "file":
        there.touch()
    else:
        there.mkdir()
        there.chmod(0o777)
    found = fallback()
    assert found != there and stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_home_folder_is_used_and_nothing_made_by_asking(temporary, monkeypatch):
    monkeypatch.setenv("HOME", str(temporary))
    assert cache_folder() == temporary / ".cache" / "labelattack"
    assert list(temporary.iterdir()) == []


def test_a_chosen_folder_that_cannot_be_is_named_with_its_variable(temporary, monkeypatch):
    (temporary / "file").touch()
    monkeypatch.setenv("LABELATTACK_CACHE", str(temporary / "file" / "x"))
    with pytest.raises(StoreError, match="LABELATTACK_CACHE must name a folder, got"):
        cache_folder()


def test_linear_runs_without_a_home_folder(temporary):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG", "LABELATTACK"))}
    command = [
        sys.executable, "-m", "labelattack", "bench", "--dataset", "digits:train=60,val=30,test=40",
        "--protocol", "linear", "--model", "tiny", "--defense", "an", "--seeds", "1", "--epochs", "1",
        "--lr", "0.01", "--jobs", "1", "--d-score", "none", "--no-reference", "--out", "results",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=temporary, capture_output=True, encoding="utf-8", timeout=120,
        env={**env, "HOME": str(Path("/proc/nonexistent")), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("LABELATTACK_CACHE names another") == 1
    assert list(temporary.glob("labelattack-*/features/*.json"))
