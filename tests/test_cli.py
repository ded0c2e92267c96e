"""The command line as a user meets it, in a process of its own where that is the point."""

import gc
import json
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from labelattack.benchmark.store.store import RecordStore
from labelattack.cli._console import MANY_ROWS, print_table
from labelattack.labels import read_labels
from labelattack.registry import installation
from tests.conftest import SMALL_DIGITS, exit_code
from tests.official import make_coco, make_nus_wide, make_voc

EDITED_FILES = installation.edited_files
EXAMPLES = Path(__file__).parent.parent / "examples"
LINEAR = ["bench", "--protocol", "linear", "--epochs", "2", "--jobs", "1"]
QUICK = [*LINEAR, "--dataset", SMALL_DIGITS]
ONE = [*QUICK, "--defense", "an", "--seeds", "1", "--lr", "0.01"]


def process(*arguments, cwd=None, code=0):
    result = subprocess.run(
        [sys.executable, "-m", "labelattack", *map(str, arguments)], cwd=cwd, encoding="utf-8",
        capture_output=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    return result


def test_bench_stores_resumes_and_shows(run, tmp_path):
    first = run(*QUICK, "--defense", "an", "--seeds", 2, cwd=tmp_path)
    assert "targeted:rate=0.4" in first.stdout and "* oracle: clean labels" in first.stdout
    assert "computed 12 of 12 cells" in first.stderr
    again = run(*QUICK, "--defense", "an", "--seeds", 2, "--json", cwd=tmp_path)
    assert "nothing to compute: all 12 cells" in again.stderr
    (board,) = json.loads(again.stdout)
    assert {row["defense"] for row in board["rows"]} == {"an", "bce"}
    (attacked,) = (row for row in board["rows"] if row["defense"] == "an")
    assert attacked["positives_removed"] == pytest.approx(0.4, abs=0.01)
    assert f"{100 * attacked['positives_removed']:.1f} % of the positives" in first.stdout
    for form, sign in (("markdown", "| attack |"), ("csv", "dataset,"), ("table", "mAP")):
        assert sign in run("show", tmp_path / "results", "--format", form).stdout
    assert gc.isenabled()
    assert json.loads(process("show", tmp_path / "results", "--format", "json").stdout) == [board]
    planned = run(*QUICK, "--defense", "an", "--seeds", 3, "--dry-run", cwd=tmp_path)
    assert "6 of 18 cells to compute" in planned.stdout


def test_score_prints_parts_and_draws(run, tmp_path):
    run(*ONE, "--d-score", "images=30", cwd=tmp_path)
    score = ("score", "results", "--jobs", 1, "--d-score")
    first = run(*score, "images=30,resamples=20", "--grid", 3, cwd=tmp_path)
    for word in ("robustness", "fitness to boxes", "3 x 3", "total-variation", "pictures are in"):
        assert word in " ".join((first.stdout + first.stderr).split())
    pictures = sorted(p.name for p in (tmp_path / "results" / "pictures").iterdir())
    assert len(pictures) == 5 and "scatter.png" in pictures
    (weights, *_) = (tmp_path / "results" / "weights").iterdir()
    of_file = run("score", weights, "--jobs", 1, "--dataset", SMALL_DIGITS, "--json", "--d-score", "images=30",
                  "--pictures", "out", cwd=tmp_path)  # fmt: skip
    of_store = run(*score, "images=30", "--cell", weights.stem[:8], "--json", cwd=tmp_path)
    (alone,), (stored,) = json.loads(of_file.stdout), json.loads(of_store.stdout)
    assert alone["diagnosis"] == stored["diagnosis"]
    assert alone["diagnosis"]["d_score"] == pytest.approx(
        alone["diagnosis"]["fitness"] - alone["diagnosis"]["robustness"]
    )
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "has no store.json"),
        (["results", "--seed", 7], "must hold a finished run of seed 7"),
        (["results", "--d-score", "evidense=map"], "did you mean 'evidence'"),
        (
            ["results", "--d-score", "evidence=maps"],
            "evidence must be 'margin' or 'map', got 'maps'",
        ),
        (["results", "--d-score", "operator=delete-cel"], "did you mean 'delete-cell'"),
        (["results", "--d-score", "grid=40"], "grid must be 2 to 6"),
        (["results", "--grid", 1], "grid must be"),
        (["junk.safetensors"], "cannot be loaded"),
        (
            ["other.safetensors", "--dataset", SMALL_DIGITS, "--d-score", "images=10"],
            "must fit model",
        ),
    ],
)
def test_score_errors_are_one_clear_line(refused, stored, arguments, message):
    assert message in refused("score", "--jobs", 1, *arguments, cwd=stored)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LABELATTACK_CACHE", str(folder / "cache"))
        arguments = [*ONE, "--d-score", "none", "--no-reference"]
        assert exit_code(patched, folder, arguments) == 0
    (folder / "junk.safetensors").write_bytes(b"junk")
    save_file(
        {"weight": np.ones((3, 4), np.float32), "bias": np.ones(3, np.float32)},
        folder / "other.safetensors",
    )
    return folder


def test_plugins_run(run, tmp_path, forgotten):
    result = run(
        *QUICK,
        "--plugin",
        EXAMPLES / "my_attack.py",
        "--plugin",
        EXAMPLES / "my_loss.py",
        "--attack",
        "wipe-class:column=3",
        "--defense",
        "confident-negative",
        "--seeds",
        1,
        "--lr",
        0.01,
        "--json",
        cwd=tmp_path,
    )
    (board,) = json.loads(result.stdout)
    row = next(r for r in board["rows"] if r["attack"] == "wipe-class:column=3")
    assert row["map"] > 0 and row["labels_removed"] == pytest.approx(0.1)
    assert "wipe-class" in run("list", "attacks", "--plugin", EXAMPLES / "my_attack.py").stdout


def test_nan_loss_fails_its_cell_only(run, tmp_path, forgotten):
    plugin = tmp_path / "nan_loss.py"
    plugin.write_text(
        "from labelattack import PartialLabelLoss, defenses\n"
        "@defenses.register('nan-loss')\n"
        "class NanLoss(PartialLabelLoss):\n"
        "    def loss(self, logits, step): return logits.sum() * float('nan')\n"
    )
    result = run(
        *QUICK,
        "--plugin",
        plugin,
        "--defense",
        "nan-loss",
        "--defense",
        "an",
        "--seeds",
        1,
        "--lr",
        0.01,
        cwd=tmp_path,
        code=1,
    )
    assert "failed: nan-loss" in result.stderr and "loss must be finite" in result.stderr
    assert "an " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "targetted"], "unknown attack 'targetted'; did you mean 'targeted'?"),
        (["--defense", "rol"], "did you mean 'role'"),
        (["--dataset", "vok"], "unknown dataset 'vok'; did you mean 'voc'?"),
        (["--model", "resnet19"], "unknown model 'resnet19'; did you mean 'resnet18'?"),
        (["--protocol", "linaer"], "did you mean 'linear'"),
        (["--attack", "targeted:rate=2"], "'rate' of attack 'targeted' must be"),
        (["--lr", "-1"], "must be greater than 0"),
        (["--dataset", "voc:root=/nowhere"], "/nowhere/VOCdevkit/VOC2007"),
        (["--device", "gpu"], "device must be"),
        (["--plugin", "absent.py"], "is not there"),
        (["--out", "taken"], "holds other files"),
    ],
)
def test_wrong_input_is_one_clear_line(refused, tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert message in refused("bench", *arguments, cwd=tmp_path)
    assert not (tmp_path / "results").exists()


def test_debug_shows_where(tmp_path):
    command = [sys.executable, "-m", "labelattack", "show", str(tmp_path), "--debug"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" in result.stderr


def test_attack_writes_labels_and_manifest(run, tmp_path):
    labels = (np.random.default_rng(0).random((200, 6)) < 0.3).astype(np.int8)
    np.savez(tmp_path / "clean.npz", labels=labels, classes=list("abcdef"))
    out = tmp_path / "attacked.csv"
    result = run(
        "attack", tmp_path / "clean.npz", "--attack", "targeted:rate=0.5", "--out", out, "--json"
    )
    left = read_labels(out, "missing")
    assert left.classes == list("abcdef")
    assert left.labels.positives.sum() == labels.sum() - round(0.5 * int(labels.sum()))
    account = json.loads((tmp_path / "attacked.csv.manifest.json").read_text())
    assert account["removed_positives"] == round(0.5 * int(labels.sum()))
    assert account["removed_per_image"] == left.labels.hidden.sum(1).tolist()
    short = json.loads(result.stdout)
    assert short.items() <= account.items()
    run(
        "attack",
        tmp_path / "clean.npz",
        "--attack",
        "targeted:rate=0.5",
        "--out",
        tmp_path / "again.csv",
    )
    assert (tmp_path / "again.csv").read_text() == out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.npy", "--out", "x.npy"], "is not there"),
        (["signed.npy", "--out", "x.npy"], "must be one of 1, 0, got -1 at row 0, column 0"),
        (["ok.npy", "--out", "x.txt"], "must end in .csv, .npy or .npz"),
        (["ok.npy", "--out", "no/x.npy"], "cannot be written"),
        (["ok.npy", "--out", "x.npy", "--encoding", "sined"], "did you mean 'signed'"),
        (["ok.npy", "--out", "x.npy", "--encoding", "binary"], "use signed, missing or nan"),
    ],
)
def test_attack_errors_write_nothing(refused, tmp_path, arguments, message):
    np.save(tmp_path / "signed.npy", np.array([[-1, 1]]))
    np.save(tmp_path / "ok.npy", np.array([[0, 1], [1, 1]]))
    assert message in refused("attack", *arguments, cwd=tmp_path)
    assert not (tmp_path / "x.npy").exists()


def test_tables_of_many_rows_are_aligned_and_whole(capsys):
    rows = [(f"名{n}" if n % 2 else f"a\n{n}", str(n), "") for n in range(MANY_ROWS + 1)]
    print_table("many \x1b[1m", ("name", "number", "nothing"), rows)
    title, blank, header, rule, *lines, last = capsys.readouterr().out.splitlines()
    assert (title, blank, last) == (r"many \x1b[1m", "", "")
    assert rule.split() == ["-" * width for width in (5, 6, 7)]
    for (name, number, _), line in zip(rows, lines, strict=True):
        assert line.split() == [*name.split(), number]
        before = line[: line.rindex(number)]
        assert cell_len(before) == header.index("number") == 7


def test_list_is_complete_and_machine_readable(run):
    found = json.loads(process("list", "--json").stdout)
    assert {d["name"] for d in found["defenses"]} >= {"pseudo-history", "role", "an", "epr"}
    (targeted,) = (d for d in found["attacks"] if d["name"] == "targeted")
    assert [p["name"] for p in targeted["parameters"]] == ["rate", "scope", "keep_negatives"]
    assert "did you mean 'attacks'" in run("list", "attack", code=2).stderr


# Heads are trained in groups, which after a kill are other groups. Vectorised exp and log round the
# last few numbers of an array in their own way: in batches of 16, of 64 images, none are left over.
GRID = [
    *LINEAR,
    "--dataset",
    "digits:train=64,val=30,test=40",
    "--attack",
    "targeted",
    "--attack",
    "random",
    "--defense",
    "role",
    "--defense",
    "pseudo-history",
    "--seeds",
    "3",
    "--lr",
    "0.01",
    "--lr",
    "0.001",
]


def numbers(folder):
    found = {}
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        for circumstance in ("seconds", "cpu_seconds", "created", "peak_memory"):
            del record[circumstance]
        found[path.name] = record
    return found


def start(cwd, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "labelattack", *GRID, *more],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell that has the tests in the background lets its children ignore interrupts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def finish(monkeypatch):
    """Runs the grid to its end in this process, whose cells are those of processes of their own."""
    monkeypatch.setattr(installation, "edited_files", EDITED_FILES)
    installation.edits_behind.cache_clear()

    def finish(cwd):
        assert exit_code(monkeypatch, cwd, GRID) == 0

    return finish


@pytest.mark.filterwarnings("error")
def test_interrupt_leaves_a_store_that_goes_on(tmp_path):
    process = start(tmp_path, "--epochs", "60", "--jobs", "2")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("results/records/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "run the same command again to go on" in stderr and "Traceback" not in stderr
    assert not list(tmp_path.glob("results/records/.part-*"))
    assert list(RecordStore(tmp_path / "results", create=False))


def test_kills_lose_nothing_and_change_nothing(finish, tmp_path):
    """kill -9 at each stage of a run; the next one goes on from the store that is left."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    finish(whole)
    total, rng = len(numbers(whole / "results")), random.Random(0)
    records = (killed / "results").glob
    # Before the first record, just after it, and later, in the process itself and in workers.
    for jobs, share in ((1, 0), (2, 0), (1, 0.3), (2, 0.6)):
        process = start(killed, "--jobs", str(jobs))
        deadline = time.monotonic() + 100
        while not (killed / "results").exists() or (
            (share or jobs > 1) and len(list(records("records/*.json"))) <= share * total
        ):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(rng.random() / 20)
        process.kill()
        process.communicate()
    finish(killed)
    assert numbers(killed / "results") == numbers(whole / "results")


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    make_coco(root, train=14, val=8)
    make_nus_wide(root, train=12, test=8)
    lists = {
        "train": [f"2008_{i:06d}" for i in range(12)],
        "val": [f"2009_{i:06d}" for i in range(8)],
    }
    make_voc(root, "2012", lists)
    return root


FAST = [
    "--model",
    "resnet18:weights=none,size=64",
    "--seeds",
    1,
    "--epochs",
    1,
    "--lr",
    1e-4,
    "--batch-size",
    8,
    "--jobs",
    1,
]


def test_the_papers_protocol_runs_on_official_layouts(run, miniatures, tmp_path):
    """One command; only network, image size and the length of the search are smaller here."""
    env = {"LABELATTACK_DATA": str(miniatures)}
    first = run("reproduce", "table3", "--scale", "paper", *FAST, cwd=tmp_path, **env)
    text = " ".join(first.stdout.split())
    assert "coco · resnet18" in text and "voc:year=2012 · resnet18" in text and "finetune" in text
    assert "75.8" in text and "D-Score" in text and "computed 10 of 10 cells" in first.stderr
    again = run("reproduce", "table3", "--scale", "paper", *FAST, "--json", cwd=tmp_path, **env)
    assert "nothing to compute: all 10 cells" in again.stderr
    coco, voc = json.loads(again.stdout)
    assert len(coco["columns"]) == len(voc["columns"]) == 4
    for column in coco["columns"]:
        for entry in column["entries"]:
            assert entry["difference"] == pytest.approx(entry["measured"] - entry["reported"])
    wide = run(
        "bench", "--dataset", "nus-wide", *FAST, "--defense", "an", "--defense", "role", "--d-score", "none",
        "--attack", "random:rate=0.6", cwd=tmp_path, **env,
    )  # fmt: skip
    assert "nus-wide" in wide.stdout and "computed 3 of 3 cells" in wide.stderr


def test_ranges_of_several_papers_stand_beside_measured_numbers(run, miniatures, tmp_path):
    command = [
        "reproduce", "single-positive", "--scale", "paper", "--dataset", "voc:year=2012", *FAST,
        "--model", "tiny", "--protocol", "linear",
    ]  # fmt: skip
    env = {"LABELATTACK_DATA": str(miniatures)}
    first = run(*command, cwd=tmp_path, **env)
    text = " ".join(first.stdout.split())
    assert "VOC 2012" in text and "measured on voc:year=2012 · tiny · linear · 1 epochs" in text
    assert "clean validation labels" in text and "84.7 to 85.9 (4 papers)" in text
    assert "CRISP, NeurIPS 2024, Table 1" in text and "computed 13 of 13 cells" in first.stderr
    marked = run(*command, "--format", "markdown", cwd=tmp_path, **env)
    assert "| crisp | 89.8 (1 paper) | clean | " in marked.stdout
    (found,) = json.loads(run(*command, "--json", cwd=tmp_path, **env).stdout)
    assert len(found["entries"]) == 13
    for entry in found["entries"]:
        values = [claim["value"] for claim in entry["reported"]]
        assert (min(values), max(values)) == (entry["low"], entry["high"])
        assert entry["measured"] is not None and all(c["source"] for c in entry["reported"])


def test_paper_scale_without_data_says_what_to_place_before_computing(run, tmp_path):
    result = run(
        "reproduce",
        "table1",
        "--scale",
        "paper",
        cwd=tmp_path,
        code=2,
        LABELATTACK_DATA=str(tmp_path),
    )
    assert "coco/annotations/instances_train2014.json" in result.stderr
    assert not (tmp_path / "results").exists()


def test_figure_is_drawn_and_configs_are_overridden(run, tmp_path):
    (tmp_path / "spec.toml").write_text(
        f'datasets = ["{SMALL_DIGITS}"]\nprotocol = "linear"\nepochs = 2\nlrs = [1e-2]\nseeds = 2\nd_score = "none"\n'
        'attacks = ["targeted:rate=0.2", "targeted:rate=0.6"]\ndefenses = ["an"]\n[scale.one]\nseeds = 1\n'
    )
    spec = ("--config", "spec.toml")
    assert "6 of 6 cells" in run("bench", *spec, "--dry-run", cwd=tmp_path).stdout
    assert "3 of 3 cells" in run("bench", *spec, "--scale", "one", "--dry-run", cwd=tmp_path).stdout
    assert "9 of 9 cells" in run("bench", *spec, "--seeds", 3, "--dry-run", cwd=tmp_path).stdout
    run("bench", *spec, "--scale", "one", "--jobs", 1, cwd=tmp_path)
    drawn = run("plot", "curves", "results", "--out", "c.png", cwd=tmp_path)
    assert "drew 'c.png'" in drawn.stderr and (tmp_path / "c.png").stat().st_size > 10_000
    figure = run(
        "reproduce", "figure2", "--dataset", SMALL_DIGITS, "--model", "tiny", "--seeds", 1, "--epochs", 1,
        "--lr", 0.01, "--batch-size", 16, "--jobs", 1, "--out", "two", cwd=tmp_path,
    )  # fmt: skip
    assert "prints no numbers" in figure.stderr
    assert (tmp_path / "two" / "pictures" / "figure2.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--config", "no.toml"], "must be a TOML file, got 'no.toml'"),
        (["bench", "--scale", "small"], "--scale needs --config"),
        (["bench", "--protocol", "linar"], "did you mean 'linear'"),
        (["bench", "--selection", "claen"], "unknown selection 'claen'; did you mean 'clean'?"),
        (["reproduce", "tabel1"], "unknown table 'tabel1'; did you mean 'table1'?"),
        (["reproduce", "table1", "--scale", "papr"], "did you mean 'paper'?"),
        (["plot", "curvs", "results"], "unknown plot 'curvs'; did you mean 'curves'?"),
        (["show", "results", "--format", "cvs"], "unknown format 'cvs'; did you mean 'csv'?"),
        (["reproduce", "table1", "--scale", "smal"], "did you mean 'small'"),
        (["plot", "curves", "nowhere"], "has no store.json"),
        (["data", "check", "cocoa"], "did you mean 'coco'"),
        (["data", "card", "digits"], "has no card"),
    ],
)
def test_new_commands_say_what_is_wrong(refused, tmp_path, arguments, message):
    assert message in refused(*arguments, cwd=tmp_path)


def test_data_check_tells_whole_from_broken(run, miniatures, tmp_path):
    env = {"LABELATTACK_DATA": str(miniatures)}
    found = json.loads(run("data", "check", "coco", "--json", code=1, **env).stdout)
    assert {f["what"]: f["fine"] for f in found}["train2014: image files"]
    assert not {f["what"]: f["fine"] for f in found}["train2014: images listed"]  # a miniature
    absent = run("data", "check", "coco:year=2017", code=1, **env)
    assert "missing" in absent.stdout and "coco/train2017/*.jpg" in absent.stderr
    assert "1,600" in run("data", "check", "digits").stdout
    assert "30d99e7c0bf8" in run("data", "card", "coco").stdout
