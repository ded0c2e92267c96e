"""The command line on stores that do not change, byte for byte.

``tests/golden`` holds small stores and baselines (made by ``tests/golden/make.py``), and under
``expected`` what each command makes of them: its exit code, what it prints, and every file that it
writes. ``keys.json`` holds what stores and caches of earlier runs are found by, with what two tiny
runs come to. Only the command line and files are used, so that nothing here is edited when modules
move. A change that is meant is written by

    REWRITE_GOLDEN=1 pytest tests/test_golden.py

and reviewed in the diff.
"""

import difflib
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from labelattack.benchmark.store.record import Record
from labelattack.seeding import generator
from tests.conftest import exit_code
from tests.golden.miniature import make_miniature

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected"
STORES = ("store", "store-voc", "store-dd437c5")
REWRITE = bool(os.environ.get("REWRITE_GOLDEN"))
MOST_LINES = 80  # of a diff that are shown

MEASURES = [
    text
    for measure in ("map", "robustness", "fitness", "d_score", "evasion", "corruption")
    for text in ("--measure", measure)
]
MIXED = [
    text
    for what in ("dataset", "model", "protocol", "selection", "versions")
    for text in ("--mix", what)
]
SETTINGS = [
    "--attack", "targeted:rate=0.4", "--defense", "wan", "--dataset", "digits:train=120",
    "--d-score", "grid=3,evidence=map,operator=delete-weight",
    "--robustness", "evasion:eps=2/255,steps=3,corruption:images=50", "--bootstrap", "20",
]  # fmt: skip
TABLE = [
    "--model", "tiny", "--seeds", "3", "--epochs", "2", "--lr", "0.01", "--jobs", "1",
]  # fmt: skip
OLD_BENCH = [
    "bench", "--epochs", "3", "--dataset", "digits:train=120,val=60,test=60", "--protocol",
    "linear", "--attack", "targeted:rate=0.4", "--attack", "single-positive", "--defense", "an",
    "--defense", "pseudo-history", "--seeds", "2", "--lr", "0.01", "--jobs", "1", "--no-weights",
    "--d-score", "images=30,resamples=20", "--robustness", "evasion:images=20,steps=2",
    "--robustness", "corruption:images=20", "--out", "store-dd437c5",
]  # fmt: skip
COMMANDS = {
    "show": ["show", "store"],
    "show-json": ["show", "store", "--format", "json"],
    "show-csv": ["show", "store", "--format", "csv"],
    "show-markdown": ["show", "store", "--format", "markdown"],
    "show-mixed": ["show", "store", "--format", "markdown", *MIXED],
    "show-mixed-protocols": ["show", "store", "--mix", "protocol"],
    "show-voc": ["show", "store-voc"],
    "cards": ["cards", "store", "--out", "cards"],
    "cards-voc": ["cards", "store-voc", "--out", "cards"],
    "cards-spec": ["cards", "store", "--out", "cards", "--spec", "experiment.toml"],
    "check": ["check", "store", "--baseline", "perturbed.json", "--junit", "junit.xml"],
    "check-json": ["check", "store", "--baseline", "perturbed.json", "--json"],
    "check-measures": ["check", "store", "--baseline", "perturbed.json", *MEASURES],
    "check-limits": ["check", "store", "--baseline", "perturbed.json", "--same-versions",
                     "--alpha", "0.2", "--tolerance", "6", "--json"],
    "check-same": ["check", "store", "--baseline", "baseline.json", *MEASURES],
    "check-update": ["check", "store", "--baseline", "new.json", "--update"],
    "check-update-measures": ["check", "store", "--baseline", "perturbed.json", "--update",
                              *MEASURES],
    "config": ["config", "--config", "experiment.toml"],
    "config-scale": ["config", "--config", "experiment.toml", "--scale", "quick", "--seeds", "4"],
    "config-options": ["config", *SETTINGS],
    "config-json": ["config", *SETTINGS, "--json"],
    "reproduce": ["reproduce", "table3", *TABLE, "--out", "store-voc"],
    "reproduce-json": ["reproduce", "table3", *TABLE, "--out", "store-voc", "--json"],
    "reproduce-markdown": ["reproduce", "table3", *TABLE, "--out", "store-voc", "--format",
                           "markdown"],
    "reproduce-plan": ["reproduce", "table1", *TABLE, "--seeds", "1", "--out", "store-voc",
                       "--dry-run"],
    "bench-plan": ["bench", "--config", "experiment.toml", "--scale", "quick", "--out", "store",
                   "--dry-run"],
    "store-ls": ["store", "ls", "store"],
    "store-ls-json": ["store", "ls", "store", "--json"],
    "store-verify": ["store", "verify", "store"],
    "store-verify-json": ["store", "verify", "store", "--json"],
    "store-gc": ["store", "gc", "store", "--dry-run"],
    "store-export": ["store", "export", "store", "export.csv"],
    "list": ["list"],
    "list-json": ["list", "--json"],
    "plot-curves": ["plot", "curves", "store", "--out", "curves.png"],
    "plot-pixels": ["plot", "pixels", "store", "--out", "pixels.png", "--defense", "an"],
    "report": ["report", "store", "--out", "report.html"],
    "report-mixed": ["report", "store-voc", "--out", "report.html", "--mix", "versions"],
    "attack": ["attack", "labels.csv", "--out", "attacked.csv", "--attack", "random:rate=0.4"],
    "attack-json": ["attack", "labels.csv", "--out", "attacked.csv", "--seed", "3", "--attack",
                    "targeted:rate=0.4", "--encoding", "signed", "--json"],
    "dd437c5-show": ["show", "store-dd437c5"],
    "dd437c5-show-json": ["show", "store-dd437c5", "--format", "json"],
    "dd437c5-check": ["check", "store-dd437c5", "--baseline", "baseline-dd437c5.json", *MEASURES],
    "dd437c5-check-json": ["check", "store-dd437c5", "--baseline", "baseline-dd437c5.json",
                           "--json"],
    "dd437c5-cards": ["cards", "store-dd437c5", "--out", "cards"],
    "dd437c5-export": ["store", "export", "store-dd437c5", "export.csv"],
    "dd437c5-verify": ["store", "verify", "store-dd437c5"],
    "dd437c5-bench": OLD_BENCH,  # nothing is computed again, and the store is of today's format
}  # fmt: skip
WIDE = {"show", "dd437c5-show"}  # also where nothing is cut off
APART = {"list", "list-json"}  # in a process that has no components of other tests


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with copies of all inputs, which a command may write to."""
    folder = tmp_path / "work"
    folder.mkdir()
    for path in GOLDEN.iterdir():
        if path.name in STORES:
            shutil.copytree(path, folder / path.name)
        elif path.suffix in (".json", ".toml", ".csv"):
            shutil.copy(path, folder)
    make_miniature(folder / "data")
    for name in ("LABELATTACK_DATA", "FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    yield folder
    gc.enable()  # commands that end turn it off


@pytest.fixture
def call(work, monkeypatch, capsys):
    """What a command comes to: exit code, standard output and error, and the files it wrote."""

    def called(*arguments, apart=False):
        before = contents(work)
        capsys.readouterr()
        if apart:
            code, out, err = process(arguments, work)
        else:
            code = exit_code(monkeypatch, work, arguments)
            out, err = capsys.readouterr()
        after = contents(work)
        assert not before.keys() - after.keys()
        written = {name: found for name, found in after.items() if found != before.get(name)}
        return code, out, err, written

    return called


def process(arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "labelattack", *arguments], cwd=cwd, capture_output=True,
        encoding="utf-8", timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def transcript(arguments, code, out, err, written):
    """All of it as one text, so that one file holds what one command comes to."""
    parts = [f"$ labelattack {' '.join(arguments)}\n", f"=== exit code: {code}\n"]
    files = {f"file {name}": text_of(name, found) for name, found in written.items()}
    for name, text in {"standard output": out, "standard error": err, **files}.items():
        parts.append(f"=== {name}\n{text}")
        if text and not text.endswith("\n"):
            parts.append("\n=== (no line end)\n")
    return "".join(parts)


def text_of(name, found):
    if name.endswith(".png"):
        return "a picture\n" if found.startswith(b"\x89PNG\r\n\x1a\n") else "no picture\n"
    return page_text(found.decode()) if name.endswith(".html") else found.decode()


def page_text(text):
    """A report without its scripts and style and their hashes; its data on lines of their own."""
    text = re.sub(r'(http-equiv="Content-Security-Policy" content=)"[^"]*"', r'\1"..."', text)
    text = re.sub(r"<style>.*?</style>", "<style>...</style>", text, flags=re.DOTALL)
    text = re.sub(
        r'(<script(?! type="application/json")[^>]*>).*?</script>', r"\1...</script>", text,
        flags=re.DOTALL,
    )  # fmt: skip
    return re.sub(
        r'<script type="application/json".*?</script>',
        lambda data: re.sub(r'([,{\[])(["{\[])', r"\1\n\2", data[0]),
        text,
        flags=re.DOTALL,
    )


def normal(text):
    """A transcript without what differs between two calls or two releases of the same code.

    That is progress with its times, and this package's version where a report names it.
    """
    text = re.sub(r"^.* elapsed +[-\d:]+ +left +[-\d:]+ *\n", "", text, flags=re.MULTILINE)
    named = (
        rf'(Written by |name="generator" content=")labelattack {re.escape(version("labelattack"))}'
    )
    return re.sub(named, r"\1labelattack", text)


def compare(path, found):
    """Compares with what is committed, or replaces that."""
    if REWRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(found.encode())
        return
    known = path.read_bytes().decode() if path.is_file() else ""
    if found == known:
        return
    lines = list(
        difflib.unified_diff(
            known.splitlines(), found.splitlines(), f"committed {path.name}", "found", lineterm=""
        )
    )
    more = len(lines) - MOST_LINES
    told = [line[:300] for line in lines[:MOST_LINES]] or ["only line ends differ"]
    told += [f"and {more} more lines"] if more > 0 else []
    pytest.fail("\n".join([*told, "REWRITE_GOLDEN=1 makes this the expected text"]), pytrace=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_gives_the_same_bytes(call, monkeypatch, name):
    found = [transcript(COMMANDS[name], *call(*COMMANDS[name], apart=name in APART))]
    if name in WIDE:
        monkeypatch.setenv("COLUMNS", "200")
        found.append(transcript(["(200 columns)", *COMMANDS[name]], *call(*COMMANDS[name])))
    compare(EXPECTED / f"{name}.txt", normal("".join(found)))


def test_nothing_is_expected_of_a_command_that_is_gone():
    assert {path.stem for path in EXPECTED.iterdir()} == set(COMMANDS)


@pytest.mark.parametrize("store", STORES)
def test_records_read_and_written_again(store):
    paths = sorted((GOLDEN / store / "records").iterdir())
    assert paths
    for path in paths:
        content = path.read_bytes()
        record = Record.model_validate_json(content)
        assert record.key == record.cell.key == path.stem
        written = record.model_dump_json(indent=1) + "\n"
        if store == "store-dd437c5":  # fields that came later are added
            assert parts(json.loads(content)) <= parts(json.loads(written))
        else:
            assert written.encode() == content


def parts(value, name=""):
    """Every plain value in some JSON, with where it is."""
    if not isinstance(value, dict | list):
        return {(name, value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = (parts(item, f"{name}.{key}") for key, item in items)
    return {(name, type(value).__name__)}.union(*inner)


def test_merged_records_are_the_same_bytes(call):
    sources = ("store", "store-voc")
    code, _, _, written = call("store", "merge", *sources, "--into", "merged")
    merged = {Path(name).name: found for name, found in written.items() if "/records/" in name}
    assert code == 0
    assert merged == {
        path.name: path.read_bytes()
        for store in sources
        for path in (GOLDEN / store / "records").iterdir()
    }


ON = "digits:train=60,val=30,test=40"
LINEAR = ["--protocol", "linear", "--epochs", "2", "--lr", "0.01"]
WHOLE = ["--protocol", "finetune", "--epochs", "2", "--lr", "0.01", "--batch-size", "16"]
KEYED = {
    "defaults": [],
    "linear": ["--protocol", "linear"],
    "micro-batch": ["--micro-batch", "4"],
    "recipes": ["--lr", "0.01", "--lr", "1e-4", "--batch-size", "8"],
    "clean selection": ["--selection", "clean"],
    "model with a parameter": ["--model", "tiny:prior=none"],
    "dataset with parameters": ["--dataset", "digits:bias=left,density=2,seed=3"],
    "attacks": ["--attack", "none", "--attack", "random", "--attack", "single-positive",
                "--attack", "targeted:rate=0.2,scope=image,keep_negatives=true",
                "--attack", "random:rate=0.6,scope=image"],
    "defenses": ["--defense", "an", "--defense", "an-ls", "--defense", "bce", "--defense",
                 "bce-ls:smoothing=0.2", "--defense", "epr", "--defense", "iu", "--defense",
                 "pseudo-history:schedule=linear", "--defense", "role", "--defense", "wan"],
    # How much is measured of a run is no part of its key.
    "measures": ["--d-score", "grid=3,evidence=map", "--robustness", "evasion,corruption",
                 "--bootstrap", "50"],
}  # fmt: skip
RUNS = {
    "linear": [*LINEAR, "--defense", "pseudo-history", "--defense", "role",
               "--attack", "targeted:rate=0.4", "--attack", "random:rate=0.4",
               "--d-score", "images=20,resamples=20"],
    "finetune": [*WHOLE, "--defense", "an", "--attack", "single-positive",
                 "--d-score", "images=20,resamples=20,grid=3,operator=delete-weight"],
}  # fmt: skip
STREAMS = {
    "shuffle/1": (0, "shuffle", "1"),
    "augment/1": (0, "augment", "1"),
    "flip": (0, "flip"),
    "role": (0, "role"),
    "images": (0, "images"),
    "mutation": (0, "mutation"),
    "corruption/gaussian-noise/0": (0, "corruption", "gaussian-noise", "0"),
    "loss": (0, "loss"),
    "initialisation": (0, "initialisation"),
    "validation": (0, "validation"),
    "digits": (0, "digits"),
    "digits/train": (0, "digits", "train"),
    "table-splits": (0, "table-splits"),
    "diagnosis": (0, "diagnosis"),
    "diagnosis-bootstrap": (0, "diagnosis-bootstrap"),
    "attack": (0, "attack"),
    "attack, seed 7": (7, "attack"),
}


def test_what_is_stored_is_found_again(call):
    """Keys of cells and of cached features, random streams, and what they lead to."""
    found = {
        "cells": {name: planned(call, arguments) for name, arguments in KEYED.items()},
        "streams": {
            name: [str(word) for word in generator(*of).bit_generator.random_raw(3)]
            for name, of in STREAMS.items()
        },
        "runs": {name: came_to(call, name, arguments) for name, arguments in RUNS.items()},
    }
    path = GOLDEN / "keys.json"
    if not REWRITE:
        found["runs"] = as_committed(found["runs"], json.loads(path.read_bytes())["runs"])
    compare(path, json.dumps(found, indent=1) + "\n")


def as_committed(found, known, within=None):
    """Results with the committed numbers in place of those that another processor may give.

    Sums of floats are rounded differently there: a loss by some millionths, after which a run on
    few images may order two of them the other way, which mAP and what is measured later show.
    """
    if isinstance(found, dict) and isinstance(known, dict):
        return {
            name: as_committed(item, known.get(name), 1e-4 if name == "losses" else within or 0.1)
            for name, item in found.items()
        }
    if isinstance(found, list) and isinstance(known, list) and len(found) == len(known):
        return [as_committed(*pair, within) for pair in zip(found, known, strict=True)]
    near = isinstance(found, float) and isinstance(known, float) and abs(found - known) <= within
    return known if near else found


def planned(call, arguments):
    """The key of each cell that a command would run."""
    on = [] if "--dataset" in arguments else ["--dataset", ON]
    code, out, err, _ = call("bench", *on, "--seeds", 1, *arguments, "--dry-run", "--json")
    assert code == 0, err
    told = ("attack", "defense", "lr", "batch")
    return {cell["cell"]: " ".join(cell[name] for name in told) for cell in json.loads(out)}


def came_to(call, name, arguments):
    """What some training comes to, with the names of the files of features that it caches."""
    cache = Path(os.environ["LABELATTACK_CACHE"]) / "features"
    known = set(cache.glob("*"))
    pixels = ["--robustness", "evasion:images=10,steps=2,corruption:images=10"]
    code, _, err, written = call(
        "bench", "--dataset", ON, "--seeds", 1, *arguments, *pixels, "--bootstrap", 20,
        "--device", "cpu", "--jobs", 1, "--no-weights", "--json", "--out", name,
    )  # fmt: skip
    assert code == 0, err
    records = [json.loads(text) for path, text in written.items() if "/records/" in path]
    return {
        "cached": sorted(path.name for path in set(cache.glob("*")) - known),
        "records": {record["key"]: fingerprint(record) for record in records},
    }


def fingerprint(record):
    test, looks = record["test"], record["diagnosis"]
    values = {
        "losses": [epoch["loss"] for epoch in record["epochs"]],
        "validation": [epoch["val_map"] for epoch in record["epochs"]],
        "map": test["map"],
        "interval": test["map_interval"],
        "attention": looks["attention"],
        "robustness": looks["robustness"],
        "fitness": looks["fitness"],
        "d_score_interval": looks["d_score_interval"],
        "evasion": record["evasion"]["by_objective"],
        "corruption": record["corruption"]["by_severity"],
    }
    labels = record["removal"]["attacked_labels"]
    return {"attacked labels": labels, "selected": record["selected_epoch"], **rounded(values)}


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
