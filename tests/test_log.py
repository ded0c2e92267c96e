"""What the command line shows of the package's log, and what the package leaves alone."""

import logging
import os
import subprocess
import sys

import pytest

from labelattack.terminal import start_log
from tests.conftest import SMALL_DIGITS, exit_code

LOG = logging.getLogger("labelattack")
BENCH = [
    "bench", "--dataset", SMALL_DIGITS, "--protocol", "linear", "--attack", "random", "--defense", "an",
    "--seeds", "2", "--epochs", "1", "--lr", "0.01", "--jobs", "1", "--d-score", "none", "--out", "store",
    "--device", "auto", "--json",
]  # fmt: skip
PYTHON = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, encoding="utf-8", env=PYTHON,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        code = exit_code(monkeypatch, tmp_path, arguments)
        out, err = capsys.readouterr()
        assert not any(type(h).__name__ == "LogLines" for h in LOG.handlers), "the log goes on"
        return code, out, err

    return run


def test_information_tells_of_groups_features_and_the_device(said):
    code, out, err = said("-v", *BENCH)
    assert code == 0 and out.startswith("[")
    for line in (
        "device auto: ",
        "pooled features of 60 images, tiny: not in the cache, computed on ",
        "4 cells to run on ",
        "4 runs of tiny on digits:test=40,train=60,val=30 train in groups of at most 4, as cache and memory allow: 1 groups",
        "pooled features of 60 images, tiny: read from the cache, ",
    ):
        assert sum(each.startswith(line) for each in err.splitlines()) >= 1, line
    assert "debug: " not in err


def test_whole_networks_train_one_by_one(said):
    one = [*BENCH, "--protocol", "finetune", "--dry-run"]
    assert said("-v", *one)[0] == 0
    _, _, err = said("-v", *BENCH, "--protocol", "finetune", "--no-reference")
    assert "2 runs of protocol finetune train one by one" in err.splitlines()


def test_twice_says_more_and_never_says_less(said):
    _, plain, quiet = said(*BENCH)
    assert "device auto" not in quiet and "debug: " not in quiet
    _, same, err = said("-vv", *BENCH, "--seeds", "3")
    assert "debug: heads at once: cache " in err and "device auto: " in err
    assert "debug: AssumeNegative" in err or "debug: process " in err
    assert plain.startswith("[") and same.startswith("[")


@pytest.mark.parametrize(("option", "shown"), [((), True), (("-q",), False)])
def test_warnings_are_shown_unless_errors_alone_are_wanted(said, monkeypatch, option, shown):
    import warnings

    from labelattack.cli import list as listing

    def warns(paths):
        LOG.warning("a fast path is given up\x1b[2J")
        LOG.error("an error")
        warnings.warn("weights are old", stacklevel=1)

    monkeypatch.setattr(listing, "load_plugins", warns)
    code, _, err = said(*option, "list", "mutations")
    lines = err.splitlines()
    assert code == 0 and "error: an error" in lines
    assert ("warning: a fast path is given up\\x1b[2J" in lines) == shown
    assert ("warning: weights are old" in lines) == shown


def test_both_at_once_are_refused(refused, tmp_path):
    said = refused("-v", "-q", "list", cwd=tmp_path)
    assert "one of --verbose and --quiet must be given, got both" in said


def test_workers_show_what_their_parent_shows(tmp_path, monkeypatch, capfd):
    assert exit_code(monkeypatch, tmp_path, ["-vv", *BENCH, "--jobs", "2"]) == 0
    _, err = capfd.readouterr()  # of processes, too
    processes = {line for line in err.splitlines() if line.startswith("debug: process ")}
    assert len(processes) >= 2


def test_the_package_leaves_logging_alone(tmp_path):
    done = python(
        "import logging, labelattack, labelattack.attacks, labelattack.training.loop\n"
        "import labelattack.benchmark.execution.scheduler, labelattack.cli\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('labelattack').handlers\n"
        "assert logging.getLogger('labelattack').level == logging.NOTSET\n"
        "from labelattack.terminal import start_log\n"
        "start_log(logging.INFO)()\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('labelattack').handlers",
        tmp_path,
    )
    assert not done.stderr


@pytest.mark.parametrize("arguments", [["-v", "list"], ["-q", "--help"], ["-vv", "show", "store"]])
def test_commands_that_compute_nothing_stay_light(said, tmp_path, arguments):
    assert said(*BENCH)[0] == 0
    done = python(
        "import sys; from labelattack.cli import main\n"
        f"sys.argv = ['labelattack', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as stopped: assert not stopped.code\n"
        "assert 'torch' not in sys.modules",
        tmp_path,
    )
    assert done.stdout


def test_a_line_that_cannot_be_written_ends_nothing(monkeypatch, capsys):
    def fails(line):
        raise OSError("full")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    stop = start_log(logging.INFO, fails)
    LOG.info("lost")
    stop()
    lines = []
    stop = start_log(logging.INFO, lines.append)
    LOG.info("%d of %d", 1, 2)
    LOG.debug("unseen")
    stop()
    LOG.info("after")
    assert lines == ["1 of 2"]
