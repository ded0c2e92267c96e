import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from labelattack.errors import LabelError, TrainingDivergedError, UnknownNameError
from labelattack.evaluation.average_precision import average_precision, mean_average_precision
from labelattack.evaluation.statistics import estimate


@given(
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 5, 1000]),
    st.sampled_from([np.float32, np.float64]),
)
def test_equals_scikit_learn_with_ties(images, labels, seed, levels, dtype):
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(images, labels)).astype(dtype)
    truth = rng.random((images, labels)) < 0.3
    found = average_precision(scores, truth)
    for column in range(labels):
        if truth[:, column].any():
            expected = average_precision_score(truth[:, column], scores[:, column])
            assert found[column] == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(found[column])


@pytest.mark.parametrize("scale", [1.0, 1e-38, 1e-20, 1e20, 1e37])
@pytest.mark.parametrize("shape", ["uniform", "skewed", "tied", "constant"])
def test_large_inputs_equal_scikit_learn(shape, scale):
    """Large enough for the buckets, in distributions that fall into few of them."""
    rng = np.random.default_rng(0)
    base = {
        "uniform": rng.uniform(-1, 1, 40_000),
        "skewed": rng.lognormal(0, 3, 40_000) / 1e6,
        "tied": rng.integers(0, 50, 40_000) / 50,
        "constant": np.full(40_000, 0.5),
    }[shape]
    scores = (base * scale).astype(np.float32)[:, None]
    truth = rng.random((40_000, 1)) < 0.05
    expected = average_precision_score(truth[:, 0], scores[:, 0].astype(np.float64))
    assert average_precision(scores, truth)[0] == pytest.approx(expected, abs=1e-12)


def test_masked_cells_are_left_out():
    rng = np.random.default_rng(1)
    scores, truth = rng.random((100, 3)), rng.random((100, 3)) < 0.3
    scored = rng.random((100, 3)) < 0.7
    found = average_precision(scores, truth, scored=scored)
    for column in range(3):
        keep = scored[:, column]
        expected = average_precision_score(truth[keep, column], scores[keep, column])
        assert found[column] == pytest.approx(expected)


def test_undefined_classes_are_not_averaged_in():
    scores = np.array([[0.9, 0.1], [0.1, 0.2]])
    truth = np.array([[True, False], [False, False]])
    assert mean_average_precision(scores, truth) == 1.0
    assert math.isnan(mean_average_precision(scores, np.zeros((2, 2), bool)))


def test_micro_equals_scikit_learn():
    rng = np.random.default_rng(2)
    scores, truth = rng.random((200, 4)), rng.random((200, 4)) < 0.2
    expected = average_precision_score(truth, scores, average="micro")
    assert mean_average_precision(scores, truth, variant="micro") == pytest.approx(expected)


def test_eleven_points_against_a_loop():
    rng = np.random.default_rng(3)
    scores, truth = rng.permutation(50) / 50, rng.random(50) < 0.3
    order = np.argsort(-scores)
    hits = np.cumsum(truth[order])
    recall, precision = hits / truth.sum(), hits / np.arange(1, 51)
    total = 0.0
    for level in range(11):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= level / 10 - 1e-12]
        total += max(reached, default=0.0) / 11
    found = mean_average_precision(scores[:, None], truth[:, None], variant="voc-11-point")
    assert found == pytest.approx(total)


def test_bad_input_is_named():
    with pytest.raises(TrainingDivergedError, match="finite"):
        average_precision(np.array([[math.nan]]), np.array([[True]]))
    with pytest.raises(LabelError, match="one shape"):
        average_precision(np.zeros((2, 2)), np.zeros((2, 3), bool))
    with pytest.raises(UnknownNameError, match="did you mean 'macro'"):
        mean_average_precision(np.zeros((1, 1)), np.ones((1, 1), bool), variant="marco")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_interval_equals_scipy(values):
    found = estimate(values)
    sem = np.std(values, ddof=1) / len(values) ** 0.5
    expected = stats.t.ppf(0.975, len(values) - 1) * sem
    assert found.half_width == pytest.approx(expected, abs=1e-9)


def test_one_seed_has_no_interval():
    assert estimate([3.0]) == (3.0, None, 1)
