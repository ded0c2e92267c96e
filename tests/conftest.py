import os
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from labelattack.cli import main
from labelattack.registry import registry as registry_module
from labelattack.registry.installation import edits_behind
from labelattack.training.protocols import base, linear

torch.set_num_threads(1)
# A machine that is busy is no fault of what is tested.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
SMALL_DIGITS = "digits:train=60,val=30,test=40"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    """Tables are not squeezed into what the terminal that runs the tests happens to have."""
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture(autouse=True)
def _as_committed(monkeypatch):
    """Keys and versions in this process are those of the commit, whatever is being edited."""
    monkeypatch.setattr("labelattack.registry.installation.edited_files", frozenset)
    edits_behind.cache_clear()


@pytest.fixture
def forgotten():
    """What a test registers is gone after it."""
    registries = list(registry_module._registries)
    before = [set(registry._classes) for registry in registries]
    modules = set(sys.modules)
    yield
    # A plug-in that stays a module is not run again when another test loads it.
    for name in [
        n for n in sys.modules if n.startswith("labelattack_plugin_") and n not in modules
    ]:
        del sys.modules[name]
    for registry, known in zip(registries, before, strict=True):
        for name in set(registry._classes) - known - set(registry._builtin.modules):
            del registry._classes[name]


@pytest.fixture
def count_training(monkeypatch):
    """Returns a list that grows by each attempt to train, which trains nothing."""

    def start():
        trained = []
        monkeypatch.setattr(base, "fit", lambda *a, **k: trained.append(1))
        monkeypatch.setattr(linear, "fit_heads", lambda *a, **k: trained.append(1))
        return trained

    return start


@pytest.fixture
def data_root():
    root = os.environ.get("LABELATTACK_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs the real data: set LABELATTACK_DATA to the folder that holds them")
    return Path(root)


def exit_code(patched, cwd, arguments):
    """Exit code of the command line, run in this process and in some folder."""
    patched.chdir(cwd)
    patched.setattr(sys, "argv", ["labelattack", *map(str, arguments)])
    with warnings.catch_warnings():
        try:
            main()
        except SystemExit as stopped:
            return stopped.code or 0
    return 0


@pytest.fixture
def refused(monkeypatch, capsys):
    """What the command line says to what it refuses; in this process, which has torch loaded."""

    def said(*arguments, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "140")
        monkeypatch.setattr(sys, "argv", ["labelattack", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        assert stopped.value.code == 2, err + out
        assert "Traceback" not in err
        return " ".join(err.split())

    return said


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Exit code, standard output and standard error of a command in this process, as one line each."""

    def run(*arguments):
        code = exit_code(monkeypatch, tmp_path, arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "internal error" not in err
        return code, " ".join(out.split()), " ".join(err.split())

    return run


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command line in this process, in the temporary folder."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["labelattack", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        assert stopped.value.code == 0, err
        return out

    return run
