"""Text is UTF-8 whatever the locale is, and a path in a spec means the same in every folder."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import labelattack
from labelattack import datasets, models
from labelattack.benchmark.plan.config import experiment, read_experiment
from labelattack.benchmark.plan.grid import Grid

PACKAGE = Path(labelattack.__file__).parent
TEXT_CALLS = {"read_text", "write_text", "open", "fdopen", "NamedTemporaryFile", "TextIOWrapper"}


def opens_text_without_encoding(call):
    """Whether a call opens a file as text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("run", "check_output", "Popen"):
        return "text" in named and "encoding" not in named
    own = isinstance(call.func, ast.Name) and name == "read_text"  # of texts.py
    if name not in TEXT_CALLS or "encoding" in named or own:
        return False
    modes = [a.value for a in [*call.args, *named.values()] if isinstance(a, ast.Constant)]
    # Images and archives are opened by modules of their own.
    module = getattr(getattr(call.func, "value", None), "id", "")
    return module not in ("Image", "os", "executor", "webbrowser") and not any(
        "b" in str(m) for m in modes
    )


def test_nothing_is_opened_in_the_encoding_of_the_locale():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and opens_text_without_encoding(node)
    ]
    assert not found


LATIN = """
import json, pathlib
from labelattack import datasets
from labelattack.benchmark.plan.config import read_experiment
from labelattack.labels import LabelTable, read_labels, write_labels
table = read_labels(pathlib.Path("labels.csv"), "binary")
write_labels(pathlib.Path("again.csv"), LabelTable(table.labels, table.ids, table.classes), "binary")
splits = datasets.create("table:labels=labels.csv,images=x.npy,splits=splits.csv").load()
title = read_experiment(pathlib.Path("config.toml"))["title"]
print(json.dumps([table.classes, table.ids, splits.fingerprint, title]))
"""


@pytest.fixture
def accents(tmp_path):
    """Files with accents in names of classes and images."""
    ids = [f"é{i}.png" for i in range(6)]
    lines = [f"{name},{i % 2},1" for i, name in enumerate(ids)]
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,Käfer,ζ", *lines]) + "\n", "utf-8")
    splits = [f"{name},{('train', 'val', 'test')[i % 3]}" for i, name in enumerate(ids)]
    (tmp_path / "splits.csv").write_text("\n".join(["image_id,split", *splits]), "utf-8")
    (tmp_path / "config.toml").write_text('title = "naïve ✓"\n', "utf-8")
    np.save(tmp_path / "x.npy", np.zeros((6, 8, 8), np.uint8))
    return tmp_path


def test_files_are_read_alike_in_every_locale(accents):
    told = []
    for locale in (
        {"PYTHONUTF8": "1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ):
        environment = {**os.environ, **locale, "LABELATTACK_CACHE": str(accents / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", LATIN], cwd=accents, env=environment, capture_output=True,
            text=True, encoding="utf-8", check=True,
        )  # fmt: skip
        told.append(json.loads(done.stdout))
        assert (accents / "again.csv").read_bytes() == (accents / "labels.csv").read_bytes()
    assert told[0] == told[1]
    assert told[0][0] == ["Käfer", "ζ"] and told[0][3] == "naïve ✓"


# --- paths


@pytest.fixture
def at_home(accents, monkeypatch):
    monkeypatch.setenv("HOME", str(accents))
    return accents


@pytest.mark.parametrize("start", ["~/", ""])
def test_paths_of_a_spec_are_the_same_from_every_folder(at_home, monkeypatch, start):
    monkeypatch.chdir(at_home)
    spec = f"table:labels={start}labels.csv,images={start}x.npy,splits={start}splits.csv"
    (cell, *_) = Grid(
        dataset=spec, model="tiny", protocol="linear", attacks=("none",), defenses=("an",)
    ).cells("")
    monkeypatch.chdir("/")
    assert datasets.create(cell.dataset).load().classes == ["Käfer", "ζ"]


@pytest.mark.parametrize("name", ["voc", "coco", "nus-wide"])
def test_roots_are_paths_too(at_home, monkeypatch, name):
    monkeypatch.chdir(at_home)
    for given in ("~/data", "data", str(at_home / "data")):
        resolved = datasets.registry.resolve(f"{name}:root={given}")
        assert dict(resolved.params)["root"] == str(at_home / "data")
    assert dict(datasets.registry.resolve(name).params)["root"] == ""


def test_weights_are_paths_unless_a_word(at_home, monkeypatch):
    monkeypatch.chdir(at_home)
    for model, word in (("resnet18", "imagenet-v1"), ("efficientnet-lite0", "package")):
        for given, wanted in (("~/w.pt", str(at_home / "w.pt")), ("w.pt", str(at_home / "w.pt")), (word, word), ("none", None)):  # fmt: skip
            resolved = models.registry.resolve(f"{model}:weights={given}")
            assert dict(resolved.params)["weights"] == wanted


@pytest.mark.parametrize("name", ["a,b", "a=b", "100%", "%2C", "%25,", "a b", "é", "x:y"])
def test_any_path_survives_being_written(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    resolved = datasets.registry.resolve("table:labels=y.csv,images=x.npy")
    again = datasets.registry.resolve(str(resolved))
    assert again == resolved
    assert dict(again.params)["labels"] == str(tmp_path / name / "y.csv")


def test_a_config_may_start_with_a_byte_order_mark(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfseeds = 2\n")
    assert experiment(read_experiment(tmp_path / "c.toml")).seeds == 2
