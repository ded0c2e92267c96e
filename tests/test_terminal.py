"""Every terminal: closed, full, of odd encodings, and readers that go; as a process meets them."""

import json
import os
import subprocess
import sys

import pytest

from labelattack.benchmark.store.store import RecordStore
from labelattack.cli import main
from tests.test_benchmark import fake

PLAIN = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "C"}


def run(command, cwd, **env):
    """What a shell makes of a command in which LA is the command line."""
    given = {**os.environ, "LA": f"{sys.executable} -m labelattack", **env}
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, timeout=60, env=given
    )
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr, done.stderr
    assert b"Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.fixture
def results(tmp_path):
    store = RecordStore(tmp_path / "results")
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        store.add(fake(value, 0.5, seed=seed, defense="an"))
        store.add(fake(value - 0.2, 0.5, seed=seed, defense="wan"))
    return tmp_path


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, PLAIN, {"PYTHONIOENCODING": "ascii:strict"}], ids=str
)
def test_marks_fall_back_to_ascii(results, env):
    found = run("$LA show results", results, **env)
    assert found.returncode == 0 and found.stdout.isascii()
    assert b"60.0 +- 24.8" in found.stdout and b" - tiny - linear" in found.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp437", "shift_jis", "utf-16", "utf-8"])
def test_each_encoding_gives_its_own_marks_or_ascii(results, encoding):
    found = run("$LA show results", results, PYTHONIOENCODING=encoding)
    assert found.returncode == 0
    assert any(mark in found.stdout.decode(encoding) for mark in ("60.0 ± 24.8", "60.0 +- 24.8"))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("$LA show results >&-", 0),
        ("$LA show results 2>&-", 0),
        ("$LA show results <&- >&- 2>&-", 0),
        ("set -o pipefail; $LA show results | head -1", 0),
        ("set -o pipefail; $LA show results 2>&1 | true", 0),
        ("$LA show nowhere 2>&-", 2),
        ("$LA show nowhere 2>/dev/full", 2),
        ("$LA show results 2>/dev/full", 0),
        ("$LA list defenses >&-", 0),
        ("$LA --version >&-", 0),
    ],
)
def test_a_stream_that_is_closed_or_full_changes_no_exit_code(results, command, code):
    assert run(command, results).returncode == code


def test_a_full_disk_behind_standard_output_is_said_once(results):
    found = run("$LA show results > /dev/full", results)
    assert found.returncode == 2
    (line,) = found.stderr.decode().splitlines()
    assert line.startswith("error: standard output cannot be written: [Errno 28]")


def test_json_says_the_same_in_every_encoding(results, monkeypatch):
    command = "$LA show results --format json"
    one, two = (run(command, results, PYTHONIOENCODING=e).stdout for e in ("utf-8", "ascii"))
    assert json.loads(one) == json.loads(two)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_is_printed(flag, monkeypatch, capsys):
    from importlib.metadata import version

    monkeypatch.setattr(sys, "argv", ["labelattack", flag])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out == version("labelattack") + "\n"


@pytest.mark.parametrize("form", ["~/x.json", "--baseline=~/x.json"])
def test_home_is_expanded_where_no_shell_does(refused, results, monkeypatch, form):
    monkeypatch.setenv("HOME", str(results / "home"))
    given = [form] if form.startswith("--") else ["--baseline", form]
    said = refused("check", "results", *given, cwd=results)
    assert str(results / "home" / "x.json") in said
