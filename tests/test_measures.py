"""Measures as plug-ins: one file shows up everywhere."""

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.benchmark.store.trackers.base import results_of
from tests.conftest import SMALL_DIGITS, exit_code

PLUGIN = '''
"""Mean confidence of predictions."""
from typing import ClassVar

import numpy as np

from labelattack.measures import register
from labelattack.measures.base import Measure, Metric


@register("confidence")
class Confidence(Measure):
    """Mean distance of predicted probabilities from one half.

    Args:
        scale: Factor on the logits.
    """

    metrics: ClassVar = (Metric("confidence", "confidence"),)
    scale: float = 1.0

    def measure(self, run):
        probabilities = 1 / (1 + np.exp(-self.scale * run.scores))
        return self.values(len(run.scores), confidence=float(np.abs(probabilities - 0.5).mean()))
'''


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, forgotten):
    from labelattack.cli import main

    (tmp_path / "confidence.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        for name in [n for n in sys.modules if n.startswith("labelattack_plugin_confidence")]:
            del sys.modules[name]
        monkeypatch.setattr("sys.argv", ["labelattack", *map(str, arguments)])
        try:
            main()
            ended = 0
        except SystemExit as stopped:
            ended = stopped.code or 0
        out, err = capsys.readouterr()
        assert ended == code, err
        return out

    return run


BENCH = (
    "bench", "--dataset", SMALL_DIGITS, "--model", "tiny", "--protocol", "linear", "--epochs", 1,
    "--lr", 1e-2, "--defense", "an", "--attack", "targeted:rate=0.4", "--seeds", 2,
    "--d-score", "none", "--jobs", 1, "--plugin", "confidence.py",
)  # fmt: skip


def test_a_measure_of_a_users_own_is_one_file(command, tmp_path):
    assert len(PLUGIN.strip().splitlines()) <= 30
    text = command(*BENCH, "--jobs", 2, "--measures", "confidence:scale=2")
    assert "confidence" in text and "confidence vs full" in text
    assert "confidence: confidence: higher is better; version 1+" in text
    plugin = ("--plugin", "confidence.py")
    (board,) = json.loads(command("show", "results", "--format", "json", *plugin))
    rows = {row["attack"].partition(":")[0]: row for row in board["rows"]}
    found = rows["targeted"]["measures"]["confidence"]["metrics"]["confidence"]
    records = {(r.cell.attack != "none", r.cell.seed): r for r in RecordStore(Path("results"))}
    values = {key: r.value("confidence", "confidence") for key, r in records.items()}
    assert found["mean"] == pytest.approx((values[True, 0] + values[True, 1]) / 2)
    apart = [values[True, seed] - values[False, seed] for seed in (0, 1)]
    assert found["to_reference"] == pytest.approx(sum(apart) / 2)
    shown = f"{found['mean']:.3f} ± {found['interval']:.3f}"
    against = f"{found['to_reference']:+.3f} ± {found['to_reference_interval']:.3f}"
    for format in ("table", "markdown"):
        text = command("show", "results", "--format", format, *plugin)
        assert shown in text and against in text
    header, *lines = command("show", "results", "--format", "csv", *plugin).splitlines()
    assert header.endswith(
        "confidence,confidence_interval,confidence_to_reference,confidence_to_reference_interval"
    )
    assert str(found["mean"]) in "".join(lines)
    command("cards", "results", "--out", "cards", *plugin)
    (card,) = (json.loads(p.read_text()) for p in Path("cards").glob("*targeted*.json"))
    measured = card["measured"]["measures"]["confidence"]["metrics"]["confidence"]
    assert measured == {key: round(value, 6) for key, value in found.items()}
    assert results_of(records[True, 0])["confidence"] == values[True, 0]
    command("report", "results", "--out", "report.html", *plugin)
    page = Path("report.html").read_text(encoding="utf-8")
    assert "measures.confidence.metrics.confidence.mean" in page and shown in page
    options = ("--baseline", "b.json", "--measure", "confidence", *plugin)
    command("check", "results", *options, "--update")
    assert "scale=2.0" in Path("b.json").read_text()
    check = json.loads(command("check", "results", *options, "--json"))
    assert {c["verdict"] for c in check["changes"]} == {"equal"}
    assert {c["measure"] for c in check["changes"]} == {"confidence"}


def test_an_edited_measure_is_taken_again(command, capsys):
    command(*BENCH, "--measures", "confidence")
    before = {r.key: r.outcomes["confidence"] for r in RecordStore(Path("results"))}
    command(*BENCH, "--measures", "confidence")
    assert {r.key: r.outcomes["confidence"] for r in RecordStore(Path("results"))} == before
    Path("confidence.py").write_text(PLUGIN.replace("- 0.5)", "- 0.4)"))
    command(*BENCH, "--measures", "confidence")
    after = {r.key: r.outcomes["confidence"] for r in RecordStore(Path("results"))}
    assert all(after[key].values != before[key].values for key in before)
    assert all(after[key].version != before[key].version for key in before)


def test_outcomes_of_a_measure_that_is_not_loaded_survive(command, forgotten):
    command(*BENCH, "--measures", "confidence")
    (path, *_) = sorted(Path("results/records").glob("*.json"))
    text = path.read_text()
    from labelattack import measures

    measures.registry._classes.pop("confidence")
    record = Record.model_validate_json(text)
    assert "confidence" in record.unread and not record.outcomes
    assert record.model_dump_json(indent=1) + "\n" == text
    assert "measured, but no measure of that name is loaded" in command("show", "results")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--measures", "confidenc"), "did you mean 'confidence'"),
        (("--measures", "confidence:scael=2"), "did you mean 'scale'"),
        (("--measures", "confidence,confidence"), "got it twice"),
        (("--measures", "class-drops"), "unknown measure 'class-drops'"),
        (("--measures", "confidence:scale=x"), "must be a valid number"),
    ],
)
def test_wrong_requests_are_said_before_anything_runs(command, capsys, options, says):
    from labelattack.cli import main

    sys.argv = ["labelattack", *map(str, BENCH), *options]
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and says in capsys.readouterr().err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("metric", "owner"), [("ece", "measure 'calibration'"), ("map", "the test scores")]
)
def test_two_measures_cannot_have_a_metric_of_one_name(
    tmp_path, monkeypatch, capsys, forgotten, metric, owner
):
    """A gate or a table by that name would take one of them, and nobody could say which."""
    path = tmp_path / "confidence.py"
    path.write_text(PLUGIN.replace('Metric("confidence"', f'Metric("{metric}"'))
    arguments = ("bench", "--plugin", path, "--dataset", SMALL_DIGITS, "--d-score", "none")
    assert exit_code(monkeypatch, tmp_path, arguments) == 2
    says = f"measure 'confidence' must have metrics of other names than {owner}, got '{metric}'"
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "results").exists()


def test_a_measure_whose_plug_in_is_broken_is_told_with_the_reason(monkeypatch, tmp_path, capsys):
    from labelattack import measures

    point = EntryPoint("broken", "no_such_module:Broken", measures.registry.group)
    monkeypatch.setitem(measures.registry.__dict__, "_entry_points", {"broken": point})
    assert exit_code(monkeypatch, tmp_path, ("bench", "--measures", "broken")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "measure 'broken' from plug-in 'no_such_module:Broken' cannot be imported" in said
    # Who does not name it is left alone.
    assert exit_code(monkeypatch, tmp_path, ("bench", "--dry-run", "--seeds", "1")) == 0
