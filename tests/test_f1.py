"""F1 against scikit-learn, and thresholds against trying all of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from labelattack.errors import ParameterError
from labelattack.measures import create
from labelattack.measures.f1 import best_threshold, f1
from labelattack.training.validation import ValidationLabels


@given(st.integers(0, 10**6))
def test_f1_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.random((2, 12, 5)) < 0.4
    counted = np.ones_like(labels)
    there = labels.any(axis=0)
    own = f1(predicted, labels, counted, axis=0)
    expected = f1_score(labels, predicted, average=None, zero_division=0)
    assert own[there] == pytest.approx(expected[there]) and np.isnan(own[~there]).all()
    if labels.any():
        micro = f1_score(labels, predicted, average="micro", zero_division=0)
        assert f1(predicted, labels, counted, axis=None) == pytest.approx(micro)


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_threshold_is_the_best_of_all(seed, count):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=count), 1).astype(np.float32)
    labels = rng.random(count) < 0.5
    chosen = best_threshold(scores, labels)
    if not labels.any():
        assert chosen == 0
        return
    tried = [*(scores - 0.05), scores.max() + 1]
    best = max(f1_score(labels, scores > t, zero_division=0) for t in tried)
    assert f1_score(labels, scores > chosen, zero_division=0) == pytest.approx(best)


def a_run(validation_labels):
    rng = np.random.default_rng(3)
    labels = rng.random((30, 4)) < 0.4
    shift = np.array([-2.0, 0.0, 1.0, 3.0])
    noise = rng.normal(scale=0.3, size=(2, 30, 4))
    val, test = ((2 * labels - 1 + shift + part).astype(np.float32) for part in noise)
    split = SimpleNamespace(labels=labels, counted=None)
    return SimpleNamespace(
        splits=SimpleNamespace(test=split, classes=tuple("abcd")), scores=test,
        validation_scores=val, validation_labels=validation_labels and ValidationLabels(labels, None, ""),
    )  # fmt: skip


def test_thresholds_come_from_validation_labels_alone():
    run = a_run(True)
    chosen = create("f1").measure(run)
    fixed = create("f1:threshold=half").measure(run)
    assert chosen.value("cf1") > 0.95 > fixed.value("cf1")
    expected = f1_score(run.splits.test.labels, run.scores > 0, average="macro")
    assert fixed.value("cf1") == pytest.approx(expected)
    assert fixed.details["thresholds"] == [0.0] * 4
    # Test labels turned round change the score and no threshold.
    run.splits.test.labels = ~run.splits.test.labels
    assert create("f1").measure(run).details["thresholds"] == chosen.details["thresholds"]


def test_without_validation_labels_only_half_can_be_used():
    with pytest.raises(ParameterError, match="must be half"):
        create("f1").measure(a_run(None))
    assert create("f1:threshold=half").measure(a_run(None)).value("of1") > 0
