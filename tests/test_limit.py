"""Fewer images of each split: which ones, what is said, and that results stand apart."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labelattack
from labelattack import datasets
from labelattack.api import Results
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import data_of
from labelattack.benchmark.gate.baseline import baseline_of
from labelattack.benchmark.gate.check import Limits, compare
from labelattack.benchmark.gate.current import current
from labelattack.benchmark.plan.config import experiment, read_experiment
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.report.html.label_samples import label_samples
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.base import Splits
from labelattack.datasets.images import ArrayImages
from labelattack.datasets.limit import _evenly, limited
from labelattack.datasets.split import Split
from labelattack.errors import ParameterError
from labelattack.labels import SideTables
from tests.conftest import SMALL_DIGITS
from tests.test_benchmark import fake

ON = datasets.create(SMALL_DIGITS)
QUICK = {
    "datasets": [SMALL_DIGITS], "protocol": "linear", "defenses": ["an"], "seeds": 1, "epochs": 1,
    "lrs": [0.01], "d_score": "none", "reference": False,
}  # fmt: skip


def splits(labels, sizes=(6, 4, 4), **more):
    def part(name, count):
        return Split(
            ArrayImages(np.zeros((count, 4, 4, 3), np.uint8)),
            labels[:count],
            [f"{name}{n}" for n in range(count)],
            groups=[f"{name}{n // 2}" for n in range(count)],
        )

    parts = map(part, ("train", "val", "test"), sizes)
    return Splits([f"c{n}" for n in range(labels.shape[1])], *parts, **more)


@given(st.integers(1, 300), st.integers(1, 300))
def test_images_are_evenly_spaced_and_as_many_as_there_may_be(images, most):
    rows = _evenly(images, most)
    assert len(rows) == min(images, most) and rows[0] == 0 and rows[-1] < images
    steps = np.diff(rows)
    assert (steps > 0).all() and (len(steps) == 0 or steps.max() - steps.min() <= 1)


def test_every_part_of_a_split_is_cut_alike():
    labels = np.eye(6, 2, dtype=bool) | np.eye(6, 2, k=-3, dtype=bool)
    scores = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    whole = splits(labels, side=SideTables(scores=scores, priors=np.array([0.1, 0.2])))
    cut = limited(whole, 3)
    assert list(cut.train.ids) == ["train0", "train2", "train4"]
    assert cut.train.groups == ["train0", "train1", "train2"]
    assert (cut.train.labels == labels[[0, 2, 4]]).all()
    assert (cut.side.scores == scores[[0, 2, 4]]).all()
    assert cut.side.priors is whole.side.priors
    assert list(cut.test.ids) == ["test0", "test1", "test2"]


def test_classes_that_lose_all_positives_are_counted_and_explained():
    labels = np.zeros((6, 3), bool)
    labels[[0, 1, 5], [0, 1, 2]] = True
    labels[0, 1] = True
    cut = limited(splits(labels), 2)
    assert cut.notes[0] == (
        "limit: 2 of 6 in train, 2 of 4 in val, 2 of 4 in test; 1 classes lose all positives in train"
    )
    assert "no positive in train for 1 classes: c2; nothing shows what they are" in cut.warnings


def test_the_same_images_every_time_and_all_of_a_smaller_split():
    first, again = (limited(ON.load(), 35) for _ in range(2))
    assert first.fingerprint == again.fingerprint != ON.load().fingerprint
    assert [len(split) for split in first.parts.values()] == [35, 30, 35]


def test_too_few_to_score_is_an_error():
    with pytest.raises(
        ParameterError, match="limit must be larger on these data, got 1: test labels"
    ):
        limited(ON.load(), 1)


# --- what identifies a result


def cells_of(limit):
    grid = Grid(
        dataset=SMALL_DIGITS, model="tiny", protocol="linear", attacks=("none",), defenses=("an",),
        seeds=(0,), epochs=1, lrs=(0.01,), reference=False, limit=limit,
    )  # fmt: skip
    return grid.cells("x")


def test_a_limit_is_part_of_the_key_and_its_absence_is_not():
    (whole,), (cut,), (other,) = map(cells_of, (None, 20, 30))
    assert len({whole.key, cut.key, other.key}) == 3
    assert "limit" not in whole.model_dump() and cut.model_dump()["limit"] == 20
    assert [len(split) for split in data_of(cut).parts.values()] == [20, 20, 20]


def test_boards_never_mix_limited_and_whole_even_of_equal_images():
    records = [fake(0.5, 0.5), fake(0.6, 0.5, limit=20), fake(0.7, 0.5, limit=30)]
    for mix in ((), ("dataset", "model", "protocol", "selection", "versions", "budget", "labels")):
        found = boards(records, mix=mix)
        assert [board.limit for board in found] == ["", "20 images a split", "30 images a split"]
    long = Results(records).to_dataframe(long=True)
    assert set(long.limit.dropna()) == {"20 images a split", "30 images a split"}


def test_the_gate_keeps_them_apart():
    whole, cut = (
        [fake(v, 0.5, seed=s, limit=of) for s, v in enumerate((0.5, 0.6))] for of in (None, 20)
    )
    assert current([*whole, *cut]) == ([*whole, *cut], [])
    sides = (baseline_of(records, ["map"]) for records in (whole, cut))
    (change,) = compare(*sides, Limits()).changes
    assert change.reason == "limit  then, 20 images a split now"


# --- everywhere it is given


def test_bench_in_python_from_toml_and_on_the_command_line_agree(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = labelattack.bench(**QUICK, limit=20, jobs=1, out="results", progress=False)
    (record,) = found.records
    assert record.cell.limit == 20 and found.notes[0].startswith("limit: 20 of 60 in train")
    assert "· 20 images a split ·" in found.to_markdown()
    (sample,) = label_samples(found.records)
    assert len(sample.panels) == 2  # their fingerprint is that of the records

    (tmp_path / "grid.toml").write_text(f'datasets = ["{SMALL_DIGITS}"]\nlimit = 20\n')
    assert experiment(read_experiment(tmp_path / "grid.toml")).grids()[0].limit == 20
    command = [
        "bench", "--config", "grid.toml", "--protocol", "linear", "--defense", "an", "--seeds", "1",
        "--epochs", "1", "--lr", "0.01", "--d-score", "none", "--no-reference", "--jobs", "1",
    ]  # fmt: skip
    code, _, err = told(*command)
    assert code == 0 and "nothing to compute: all 1 cells" in err and "note: limit: 20 of 60" in err
    code, out, _ = told(*command, "--limit", "30", "--dry-run", "--json")
    assert [cell["state"] for cell in json.loads(out)] == ["to compute"]
    assert "(20 images a split)" in told("store", "ls", "results")[1]
    assert "20 images a split" in told("show", "results")[1]
    assert told("config", "--config", "grid.toml")[1].count("limit = 20") == 1
    assert "limit" not in told("config")[1]


def test_a_store_of_limited_runs_is_scored_on_their_images(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labelattack.bench(**QUICK, limit=20, jobs=1, out="results", progress=False)
    assert len(list(RecordStore(tmp_path / "results"))) == 1
    code, out, _ = told(
        "score", "results", "--d-score", "resamples=10", "--grid", "0", "--jobs", "1", "--json"
    )
    assert code == 0 and json.loads(out)[0]["diagnosis"]["images"] == 20


@pytest.mark.parametrize("limit", [0, -1, 1.5, "ten"])
def test_other_values_are_refused(limit):
    with pytest.raises(ParameterError, match="limit must be"):
        experiment({"limit": limit})
