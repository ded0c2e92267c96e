import functools
import gc
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# Of this process where numpy is not loaded yet, and of all that tests start: two processes that
# have two threads each spend their time waiting for two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch
import typer.main
from hypothesis import settings

import labelattack.testing.simulated_device  # noqa: F401, before anything is differentiated
from labelattack.cli import main
from labelattack.registry import registry as registry_module
from labelattack.registry.installation import edits_behind
from labelattack.training.protocols import base, linear

torch.set_num_threads(1)
# A machine that is busy is no fault of what is tested.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
# Each command line in this process would read the signatures of all commands anew.
typer.main.get_params_from_function = functools.cache(typer.main.get_params_from_function)
SMALL_DIGITS = "digits:train=60,val=30,test=40"


def pytest_collection_finish():
    """Modules and tests stay to the end: a search for garbage among them takes half a second."""
    gc.collect()
    gc.freeze()


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


@contextmanager
def registered_within():
    """What is registered within the context is gone after it."""
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
def forgotten():
    """What a test registers is gone after it."""
    with registered_within():
        yield


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


class Said(NamedTuple):
    """What a command wrote on standard output and standard error, and how it ended."""

    stdout: str
    stderr: str
    code: int


@pytest.fixture
def anyhow(monkeypatch, capsys, tmp_path):
    """Runs the command line in this process, which has torch loaded, however it ends."""

    def run(*arguments, cwd=tmp_path, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        capsys.readouterr()
        code = exit_code(monkeypatch, cwd, arguments)
        said = Said(*capsys.readouterr(), code)
        assert "Traceback" not in said.stderr and "internal error" not in said.stderr
        return said

    return run


@pytest.fixture
def run(anyhow):
    """Runs the command line in this process, which must end with some exit code."""

    def run(*arguments, code=0, **where):
        said = anyhow(*arguments, **where)
        assert said.code == code, said.stderr + said.stdout
        return said

    return run


@pytest.fixture
def refused(run):
    """What the command line says to what it refuses, as one line."""
    return lambda *arguments, cwd: " ".join(run(*arguments, cwd=cwd, code=2).stderr.split())


@pytest.fixture
def told(anyhow):
    """Exit code, standard output and standard error of a command, as one line each."""

    def told(*arguments):
        said = anyhow(*arguments)
        return said.code, " ".join(said.stdout.split()), " ".join(said.stderr.split())

    return told


@pytest.fixture
def command(run):
    """What a command writes on standard output."""
    return lambda *arguments: run(*arguments).stdout
