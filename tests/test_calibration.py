"""Calibration against a loop over bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.run_cell import run_cell
from labelattack.benchmark.plan.grid import Grid
from labelattack.errors import ParameterError
from labelattack.measures import create
from labelattack.measures.calibration import calibration_error
from labelattack.measures.request import MeasureRequest
from tests.conftest import SMALL_DIGITS


def by_loop(probabilities, labels, bins):
    total = 0.0
    for place in range(bins):
        last = place == bins - 1
        inside = [
            (p, y)
            for p, y in zip(probabilities, labels, strict=True)
            if int(p * bins) == place or (last and p == 1)
        ]
        if inside:
            confidence = sum(p for p, _ in inside) / len(inside)
            share = sum(y for _, y in inside) / len(inside)
            total += len(inside) / len(labels) * abs(confidence - share)
    return total


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 20))
def test_error_is_that_of_a_loop_over_bins(seed, count, bins):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.random(count), 2)
    labels = rng.random(count) < 0.4
    assert calibration_error(probabilities, labels, bins) == pytest.approx(
        by_loop(probabilities.tolist(), labels.tolist(), bins), abs=1e-12
    )


def test_closed_forms():
    labels = np.array([True, False, False, False])
    assert calibration_error(np.full(4, 0.25), labels, 10) == 0
    assert calibration_error(np.full(4, 0.75), labels, 10) == 0.5
    assert calibration_error(labels.astype(float), labels, 10) == 0
    assert calibration_error(1 - labels.astype(float), labels, 10) == 1
    assert calibration_error(np.zeros(0), np.zeros(0, bool), 10) is None


def test_a_run_is_calibrated_pooled_and_by_class():
    (cell,) = Grid(
        dataset=SMALL_DIGITS, model="tiny", protocol="linear", attacks=("targeted",),
        defenses=("an",), seeds=(0,), epochs=1, lrs=(1e-2,), batch_sizes=(8,), reference=False,
    ).cells(load(SMALL_DIGITS).fingerprint)  # fmt: skip
    outcome = run_cell(cell, measures=MeasureRequest.of(create("calibration:bins=5"))).outcomes
    found = outcome["calibration"]
    assert found.images == 40 and 0 < found.value("ece") < 1 and found.settings == {"bins": 5}
    by_class = found.details["by_class"]
    assert len(by_class) == 10
    assert found.value("ece_class") == pytest.approx(np.mean(list(by_class.values())))


def test_wrong_settings_are_refused():
    with pytest.raises(ParameterError, match="greater than or equal to 2"):
        create("calibration:bins=1")
