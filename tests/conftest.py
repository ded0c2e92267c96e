import os
import sys
import warnings
from pathlib import Path

import pytest
import torch

from labelattack import attacks, corruptions, datasets, defenses, models, mutations
from labelattack.cli import main
from labelattack.registry.installation import edits_behind

torch.set_num_threads(1)
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
    registries = [
        module.registry for module in (attacks, corruptions, datasets, defenses, models, mutations)
    ]
    before = [set(registry._classes) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        for name in set(registry._classes) - known - set(registry._builtin.modules):
            del registry._classes[name]


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
