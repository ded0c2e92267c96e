"""Two stores compared: command and function, by the statistics of the gate; badge and Markdown of check."""

import json

import numpy as np
import pytest
from scipy import stats

import labelattack
from labelattack.api import Results
from labelattack.benchmark.gate.baseline import baseline_of, write_baseline
from labelattack.benchmark.gate.check import Limits, check_records
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import ParameterError, StoreError
from tests.conftest import exit_code
from tests.test_gate import of_version, runs

THEN = [80.0, 81.5, 79.3, 80.4]
WORSE = [77.2, 78.4, 76.5, 77.7]
BETTER = [83.1, 84.4, 82.5, 83.2]


@pytest.fixture
def stores(tmp_path):
    """Makes stores of a row, with mAP of each seed in points, and a baseline of ``then``."""
    for name, maps in {"then": THEN, "worse": WORSE, "better": BETTER}.items():
        store = RecordStore(tmp_path / name)
        for record in runs(maps):
            store.add(record)
    write_baseline(tmp_path / "b.json", baseline_of(runs(THEN), ["map"]))
    return tmp_path


@pytest.fixture
def call(stores, monkeypatch, capsys):
    def called(*arguments, code):
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        assert exit_code(monkeypatch, stores, arguments) == code
        return capsys.readouterr()

    return called


def test_it_prints_what_got_worse_with_its_interval(call):
    out, err = call("compare", "then", "worse", code=1)
    lost = np.subtract(THEN, WORSE)
    half = stats.t.ppf(0.975, 3) * lost.std(ddof=1) / 2
    assert f"+{lost.mean():.2f} ± {half:.2f}" in out and "REGRESSION" in out
    assert "then: then; now: worse" in out
    assert err.startswith("regression: 1 comparisons, 1 worse")


def test_what_got_better_or_is_equal_is_no_failure(call):
    assert "improved" in call("compare", "then", "better", code=0).out
    assert "equal" in call("compare", "then", "then", code=0).out
    assert "within tolerance" in call("compare", "then", "worse", "--tolerance", 5, code=0).out


def test_json_and_markdown_say_the_same(call):
    (change,) = json.loads(call("compare", "then", "worse", "--json", code=1).out)["changes"]
    assert change["verdict"] == "regression"
    text = call("compare", "then", "worse", "--format", "markdown", code=1).out
    assert "| REGRESSION |" in text and f"{change['before']:.2f}" in text


def test_rows_of_one_store_only_are_named_without_hints_of_a_baseline_file(stores):
    more = [*runs(THEN), *runs(THEN, attack="random")]
    lacking = labelattack.compare(Results(more), Results(runs(THEN)))
    assert lacking.exit_code == 2
    assert [c.reason for c in lacking.changes if c.reason] == ["not run now"]
    (note,) = labelattack.compare(Results(runs(THEN)), Results(more)).notes
    assert note.startswith("not in the baseline: ") and "--update" not in note
    unmeasured = labelattack.compare(stores / "then", stores / "worse", measures=["map", "fitness"])
    reasons = [c.reason for c in unmeasured.changes if c.measure == "fitness"]
    assert reasons == ["the baseline has no fitness of it"]


def test_python_and_gate_agree(stores):
    found = labelattack.compare(stores / "then", labelattack.open(stores / "worse"), tolerance=1.0)
    by_gate = check_records(runs(WORSE), baseline_of(runs(THEN), ["map"]), Limits(tolerance=1.0))
    assert found == by_gate and found.exit_code == 1


def test_of_a_row_in_two_versions_the_baseline_takes_one_and_says_so():
    old = of_version("1", [70.0, 71.0, 72.0], created="2001")
    new = of_version("2", [80.0, 81.0, 82.0], created="2002")
    found = labelattack.compare(Results([*old, *new]), Results(old))
    assert found.notes == [
        "baseline: an under targeted:rate=0.4: defense 1 is taken, defense 2 is left out"
    ]
    assert found.exit_code == 0


def test_what_is_wrong_is_said(stores, refused):
    with pytest.raises(
        StoreError, match="the second of two results must hold a finished run with map, got none"
    ):
        labelattack.compare(Results(runs(THEN)), Results([]))
    with pytest.raises(ValueError, match=r"unknown limit 'tolerence'; did you mean 'tolerance'\?"):
        labelattack.compare(stores / "then", stores / "worse", tolerence=1)
    with pytest.raises(ParameterError, match="alpha must be less than 1"):
        labelattack.compare(stores / "then", stores / "worse", alpha=2)
    assert "has no store.json" in refused("compare", "then", "absent", cwd=stores)
    assert "did you mean 'map'" in refused(
        "compare", "then", "worse", "--measure", "mpa", cwd=stores
    )


# --- files of check


@pytest.mark.parametrize(
    ("store", "code", "message", "color"),
    [
        ("then", 0, "no regression (1 of 1)", "brightgreen"),
        ("worse", 1, "regression (1 of 1)", "red"),
    ],
)
def test_check_writes_a_badge_and_markdown(call, stores, store, code, message, color):
    call(
        "check",
        store,
        "--baseline",
        "b.json",
        "--badge",
        "b/a.json",
        "--markdown",
        "c.md",
        code=code,
    )
    assert json.loads((stores / "b/a.json").read_bytes()) == {
        "schemaVersion": 1, "label": "labelattack", "message": message, "color": color,
    }  # fmt: skip
    written = (stores / "c.md").read_text(encoding="utf-8")
    assert written.startswith("### ") and "| attack | defense |" in written


def test_a_badge_of_what_cannot_be_compared_is_grey(call, stores):
    write_baseline(stores / "b.json", baseline_of(runs(THEN, attack="random"), ["map"]))
    call("check", "then", "--baseline", "b.json", "--badge", "a.json", code=2)
    found = json.loads((stores / "a.json").read_bytes())
    assert (found["message"], found["color"]) == ("cannot compare (1 of 1)", "lightgrey")


def test_a_baseline_is_written_without_files_of_a_check(refused, stores):
    for option in ("--junit", "--badge", "--markdown"):
        said = refused("check", "then", "--baseline", "b.json", "--update", option, "x", cwd=stores)
        assert f"--update must stand without {option}, got {option} x" in said
