"""Recovery of removed labels and backdoors, against scikit-learn and plain loops."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.errors import ParameterError, UnknownNameError
from labelattack.labels import PartialLabels
from labelattack.labels.co_occurrence import frequent_pair, joint_counts, resolved_pair
from labelattack.measures import create
from labelattack.measures.recovery import recall_at_removed, removed_among
from tests.conftest import SMALL_DIGITS, exit_code


def a_run(before, after, scores, changes=False):
    split = SimpleNamespace(partial=before)
    return SimpleNamespace(
        splits=SimpleNamespace(train=split, classes=tuple("abcd")),
        training_scores=scores,
        attacked=lambda: (SimpleNamespace(changes=changes), after),
    )


def drawn(seed, images=14):
    rng = np.random.default_rng(seed)
    values, known, kept = (rng.random((3, images, 4)) < [[[0.4]], [[0.9]], [[0.6]]]).astype(bool)
    before = PartialLabels(values, known)
    after = PartialLabels(values, known & kept)
    return before, after, np.round(rng.normal(size=values.shape), 1).astype(np.float32)


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_recovery_is_scikit_learns(seed):
    before, after, scores = drawn(seed)
    found = create("recovery").measure(a_run(before, after, scores))
    each = {}
    for column, name in enumerate("abcd"):
        rows = [
            row for row in range(len(before))
            if before.observed[row, column] and not after.observed[row, column]
        ]  # fmt: skip
        truth = [bool(before.values[row, column]) for row in rows]
        if any(truth) and not all(truth):
            each[name] = average_precision_score(truth, scores[rows, column])
    ap = found.value("recovery_ap")
    assert ap == (pytest.approx(np.mean(list(each.values()))) if each else None)
    if found.details:
        kept = {k: v for k, v in found.details["by_class"].items() if v is not None}
        assert kept == pytest.approx(each)


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=7))
@settings(max_examples=25)
def test_recall_is_its_mean_over_orders_of_equal_scores(entries):
    scores = np.array([score for score, _ in entries], dtype=np.float32)
    removed = np.array([gone for _, gone in entries])
    found = recall_at_removed(scores, removed)
    if removed.all() or not removed.any():
        assert found is None
        return
    rng = np.random.default_rng(0)
    count, hits = int(removed.sum()), []
    for _ in range(400):
        order = sorted(range(len(scores)), key=lambda n: (-scores[n], rng.random()))
        hits.append(sum(removed[n] for n in order[:count]) / count)
    assert found == pytest.approx(np.mean(hits), abs=0.12)


def test_perfect_and_reversed_scores():
    before, after, _ = drawn(3, images=40)
    truth = before.values * 2.0 - 1
    best = create("recovery").measure(a_run(before, after, truth.astype(np.float32)))
    assert (best.value("recovery_ap"), best.value("recovery_recall")) == (1, 1)
    worst = create("recovery").measure(a_run(before, after, -truth.astype(np.float32)))
    assert worst.value("recovery_ap") < 0.6 and worst.value("recovery_recall") < 0.3


def test_observed_negatives_are_candidates_only_where_labels_change():
    before = PartialLabels.full(np.array([[True, False], [True, True]]))
    flipped = PartialLabels.full(np.array([[False, False], [True, True]]))
    candidates, removed = removed_among(before, flipped, changes=True)
    assert candidates.tolist() == [[True, True], [False, False]]
    assert removed.tolist() == [[True, False], [False, False]]
    hidden = PartialLabels(before.values, np.array([[False, True], [True, True]]))
    candidates, removed = removed_among(before, hidden, changes=False)
    assert candidates.tolist() == removed.tolist() == [[True, False], [False, False]]


def test_nothing_is_defined_without_a_removal():
    before, _, scores = drawn(1)
    for run in (
        a_run(before, before, scores),
        SimpleNamespace(splits=a_run(before, None, None).splits, attacked=None),
    ):
        found = create("recovery").measure(run)
        assert found.value("recovery_ap") is None and found.value("recovery_recall") is None
    # Where only positives are hidden there is nothing to rank them against.
    only = PartialLabels(before.values, before.observed & ~before.values)
    found = create("recovery").measure(a_run(before, only, scores))
    assert found.value("recovery_ap") is None and found.value("recovery_recall") is None


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_frequent_pair_is_that_of_loops(seed, classes):
    rng = np.random.default_rng(seed)
    values = rng.random((9, classes)) < 0.5
    labels = PartialLabels(values, rng.random(values.shape) < 0.8)
    there = labels.values
    best = None
    for a in range(classes):
        for b in range(a + 1, classes):
            together = sum(bool(row[a] and row[b]) for row in there)
            assert joint_counts(labels)[a, b] == together
            if best is None or together > best[0]:
                best = together, a, b
    _, a, b = best
    more = there[:, a].sum() >= there[:, b].sum()
    assert frequent_pair(labels) == ((a, b) if more else (b, a))


def test_pair_of_a_spec():
    values = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 0, 0]], dtype=bool)
    labels = PartialLabels.full(values).named(None, ["cat", "dog", "fox"])
    assert resolved_pair(labels, who="x") == ((0,), 1)
    assert resolved_pair(labels, target="cat", who="x") == ((1,), 0)
    assert resolved_pair(labels, "cat+fox", who="x") == ((0, 2), 1)
    assert resolved_pair(labels, "2", "dog", who="x") == ((2,), 1)
    assert resolved_pair(labels.take_classes([0]), who="x") is None
    with pytest.raises(UnknownNameError, match="did you mean 'cat'"):
        resolved_pair(labels, "catt", who="measure 'backdoor'")
    with pytest.raises(ParameterError, match="one target"):
        resolved_pair(labels, "cat", "cat", who="measure 'backdoor'")


def test_backdoor_is_the_ap_of_each_part():
    rng = np.random.default_rng(2)
    values = rng.random((60, 3)) < [0.6, 0.5, 0.5]
    known = rng.random(values.shape) < 0.9
    scores = np.round(rng.normal(size=values.shape), 1).astype(np.float32)
    pixels = np.zeros((60, 2, 2), dtype=np.uint8)
    test = Split(ArrayImages(pixels), values, [str(n) for n in range(60)], known)
    train = SimpleNamespace(partial=PartialLabels.full(values).named(None, list("abc")))
    run = SimpleNamespace(
        splits=SimpleNamespace(train=train, test=test, classes="abc"), scores=scores
    )
    found = create("backdoor:trigger=a,target=c").measure(run)
    for name, wanted in (("triggered_ap", True), ("other_ap", False)):
        rows = [n for n in range(60) if known[n, 0] and known[n, 2] and values[n, 0] == wanted]
        expected = average_precision_score(values[rows, 2], scores[rows, 2])
        assert found.value(name) == pytest.approx(expected)
    assert found.details["trigger"] == ["a"] and found.details["target"] == "c"


def test_columns_appear_on_the_board(monkeypatch, tmp_path, capsys):
    arguments = (
        "bench", "--dataset", SMALL_DIGITS, "--model", "tiny", "--protocol", "linear", "--epochs",
        1, "--lr", 1e-2, "--defense", "an", "--attack", "targeted:rate=0.4", "--seeds", 1,
        "--d-score", "none", "--jobs", 1, "--measures", "recovery,backdoor",
    )  # fmt: skip
    assert exit_code(monkeypatch, tmp_path, arguments) == 0
    shown = capsys.readouterr().out
    assert "recovery recall" in shown and "AP with trigger" in shown
    assert exit_code(monkeypatch, tmp_path, ("show", "results", "--format", "json")) == 0
    (board,) = json.loads(capsys.readouterr().out)
    rows = {row["attack"].partition(":")[0]: row["measures"] for row in board["rows"]}
    for name in ("recovery_ap", "recovery_recall"):
        assert 0 < rows["targeted"]["recovery"]["metrics"][name]["mean"] <= 100
        assert rows["none"]["recovery"]["metrics"][name]["mean"] is None
    for name in ("triggered_ap", "other_ap"):
        assert 0 < rows["targeted"]["backdoor"]["metrics"][name]["mean"] <= 100


def test_backdoor_of_an_unknown_class_is_said_before_training(monkeypatch, tmp_path, capsys):
    arguments = (
        "bench",
        "--dataset",
        SMALL_DIGITS,
        "--measures",
        "backdoor:trigger=11",
        "--jobs",
        1,
    )
    assert exit_code(monkeypatch, tmp_path, arguments) == 2
    assert "unknown class of measure 'backdoor' '11'" in capsys.readouterr().err
    assert not list((tmp_path / "results" / "records").glob("*"))
