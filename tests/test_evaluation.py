import math
import warnings
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from labelattack.errors import LabelError, TrainingDivergedError, UnknownNameError
from labelattack.metrics import average_precision as module
from labelattack.metrics.average_precision import (
    average_precision,
    mean_average_precision,
    mean_average_precisions,
)
from labelattack.metrics.statistics import estimate


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
        if truth[:, column].any() and not truth[:, column].all():
            expected = average_precision_score(truth[:, column], scores[:, column])
            assert found[column] == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(found[column])


def by_full_sort(scores, truth, scored):
    """Average precision of each class, bit by bit: every image sorted, no buckets."""
    found = np.full(truth.shape[1], math.nan)
    for column in range(truth.shape[1]):
        score, label = scores[scored[:, column], column], truth[scored[:, column], column]
        positives, everything = np.sort(score[label]), np.sort(score)
        if 0 < len(positives) < len(score):
            hits = len(positives) - np.searchsorted(positives, positives)
            found[column] = (hits / (len(score) - np.searchsorted(everything, positives))).mean()
    return found


SHAPES = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "skewed": lambda rng, size: rng.lognormal(0, 3, size),
    "tied": lambda rng, size: rng.integers(-3, 4, size) * 0.5,
    "zeros": lambda rng, size: rng.choice([-0.0, 0.0, 1.0], size),
    "far": lambda rng, size: np.where(rng.random(size) < 0.01, 1e6, rng.random(size)),
    "neighbours": lambda rng, size: 1 + rng.integers(0, 40, size) * 2.0**-23,
    "huge": lambda rng, size: rng.uniform(-3e38, 3e38, size),
    "tiny": lambda rng, size: rng.uniform(-1e-38, 1e-38, size),
}
shapes = st.sampled_from(sorted(SHAPES))


@given(
    st.integers(0, 400),
    st.integers(1, 20),
    shapes,
    st.sampled_from([0, 0.05, 0.5, 1]),
    st.sampled_from([1, 16, 1 << 15]),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_buckets_change_no_bit(images, labels, shape, density, buckets, dtype, seed):
    """Any number of buckets, hence any size, gives what sorting everything gives."""
    rng = np.random.default_rng(seed)
    limit = np.finfo(dtype).max
    scores = SHAPES[shape](rng, (images, labels)).clip(-limit, limit).astype(dtype)
    truth = rng.random((images, labels)) < density
    scored = rng.random((images, labels)) < rng.choice([0.5, 1])
    with mock.patch.object(module, "_BUCKETS", buckets):
        found = average_precision(scores, truth, scored=scored)
    assert np.array_equal(found, by_full_sort(scores, truth, scored), equal_nan=True)


@given(shapes, st.sampled_from([0.001, 0.04, 0.6]), st.integers(0, 2**32 - 1))
def test_large_classes_change_no_bit(shape, density, seed):
    rng = np.random.default_rng(seed)
    scores = SHAPES[shape](rng, (33_000, 1)).astype(np.float32)
    truth, scored = rng.random((33_000, 1)) < density, np.ones((33_000, 1), bool)
    found = average_precision(scores, truth)
    assert np.array_equal(found, by_full_sort(scores, truth, scored), equal_nan=True)


@given(
    st.tuples(st.integers(0, 8), st.integers(0, 60), st.integers(0, 5)),
    shapes,
    st.sampled_from([0, 0.1, 0.5, 1]),
    st.tuples(st.sampled_from([2, 3]), st.sampled_from([None, 2, 3])),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1, 200, 1 << 17]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_many_runs_equal_each_alone(size, shape, density, axes, dtype, cells, strided, seed):
    """With ties, unscored cells, classes without positives, and runs that have diverged."""
    rng = np.random.default_rng(seed)
    scores = SHAPES[shape](rng, size).astype(dtype)
    if strided:
        scores = scores.swapaxes(1, 2).copy().swapaxes(1, 2)
    lost = rng.random(size) < rng.choice([0, 0.002])
    scores[lost] = rng.choice([math.nan, -math.nan, math.inf, -math.inf], int(lost.sum()))
    labels = rng.random(size[-axes[0] :]) < density
    scored = None if axes[1] is None else rng.random(size[-axes[1] :]) < rng.choice([0.2, 0.9])
    with mock.patch.object(module, "_CELLS", cells), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mean_average_precisions(scores, labels, scored=scored)
    assert found.shape == size[:1]
    for run, value in enumerate(found):
        truth, kept = (
            cells if cells is None or cells.ndim == 2 else cells[run] for cells in (labels, scored)
        )
        if lost[run].any():
            assert math.isnan(value)
        else:
            alone = mean_average_precision(scores[run], truth, scored=kept)
            assert value == pytest.approx(alone, abs=1e-12, nan_ok=True)


def test_many_runs_equal_scikit_learn():
    rng = np.random.default_rng(4)
    scores = rng.integers(-20, 20, (7, 300, 4)).astype(np.float32)
    labels = rng.random((300, 4)) < 0.2
    expected = [average_precision_score(labels, run, average="macro") for run in scores]
    assert mean_average_precisions(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_many_runs_of_other_shapes_are_refused():
    scores, labels = np.zeros((2, 3, 4), np.float32), np.ones((3, 4), bool)
    for wrong in (np.ones((4, 3), bool), np.ones((3, 3, 4), bool), np.ones((3, 4))):
        with pytest.raises(LabelError, match="labels bool"):
            mean_average_precisions(scores, wrong)
        with pytest.raises(LabelError, match="scored bool"):
            mean_average_precisions(scores, labels, scored=wrong)
    with pytest.raises(LabelError, match=r"\[runs, images, labels\]"):
        mean_average_precisions(scores[0], labels)


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
