"""The greedy attack, against finite differences, a general optimiser and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from labelattack import attacks
from labelattack.attacks import influence
from labelattack.attacks.influence import (
    Damage,
    Fit,
    damages,
    fit,
    influences,
    inputs_of,
    likelihood,
    problem_of,
    ranking,
    removal_order,
)
from labelattack.attacks.knowledge import HeldOut, Knowledge
from labelattack.errors import AttackError
from labelattack.labels import PartialLabels


def made(seed=0, images=30, held_out=24, channels=4, labels=2):
    """Features that tell of labels, and labels of which each class has some."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(channels, labels))
    parts = []
    for count in (images, held_out):
        features = rng.normal(size=(count, channels)).astype(np.float32)
        values = features @ truth + rng.normal(size=(count, labels)) > 0.5
        values[:2] = [[True] * labels, [False] * labels]
        parts += [features, PartialLabels.full(values)]
    features, attacked, others, clean = parts
    return features, attacked, HeldOut(others, clean)


def knowledge(features, held_out):
    return Knowledge({"features": lambda: features, "held_out": lambda: held_out})


def constant(features):
    return np.column_stack([features, np.ones(len(features))]).astype(float)


def slow_loss(weights, inputs, targets, l2):
    total = 0.0
    for x, y in zip(inputs, targets, strict=True):
        share = 1 / (1 + math.exp(-float(x @ weights)))
        total -= math.log(share) if y else math.log(1 - share)
    return total / len(inputs) + l2 / 2 * (weights[:-1] @ weights[:-1] + 1e-3 * weights[-1] ** 2)


def test_inputs_are_principal_axes():
    features, _, held_out = made(channels=6)
    inputs, others = inputs_of(features, held_out.features, 3)
    scaler = StandardScaler().fit(features.astype(float))
    pca = PCA(3).fit(scaler.transform(features.astype(float)))
    for found, some in ((inputs, features), (others, held_out.features)):
        expected = pca.transform(scaler.transform(some.astype(float)))
        assert np.allclose(np.abs(found[:, :-1]), np.abs(expected))
        assert (found[:, -1] == 1).all()
    # Those of all axes are the features, up to a rotation.
    whole, _ = inputs_of(features, held_out.features, 99)
    assert np.allclose(whole[:, :-1], scaler.transform(features.astype(float)))
    same = np.repeat(features[:1], 5, axis=0)
    assert (inputs_of(same, same, 2)[0][:, :-1] == 0).all()


def test_inputs_are_the_same_in_blocks(monkeypatch):
    features, _, held_out = made(channels=6)
    whole = inputs_of(features, held_out.features, 3)
    monkeypatch.setattr(influence, "_ROWS", 7)
    for one, other in zip(whole, inputs_of(features, held_out.features, 3), strict=True):
        assert np.allclose(np.abs(one), np.abs(other))


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_fit_is_that_of_a_general_optimiser(l2):
    features, labels, _ = made()
    inputs = constant(features)
    for targets in (labels.values[:, 0], np.zeros(30, bool)):
        found = fit(inputs, targets, l2)
        options = {"gtol": 1e-9, "maxiter": 5000}
        expected = minimize(slow_loss, np.zeros(5), (inputs, targets, l2), options=options)
        assert slow_loss(found.weights, inputs, targets, l2) <= expected.fun + 1e-9
        if targets.any():
            assert np.allclose(found.weights, expected.x, atol=1e-3)
        again = fit(
            inputs, targets, l2, Fit(50 * np.ones(5), np.eye(5))
        )  # far away, where Newton steps overshoot
        assert np.allclose(again.weights, found.weights, atol=1e-3)


def test_hessian_is_that_of_the_loss():
    features, labels, _ = made()
    inputs, targets = constant(features), labels.values[:, 0]
    found = fit(inputs, targets, 0.1)
    steps = np.eye(5) * 1e-4

    def at(step):
        return slow_loss(found.weights + step, inputs, targets, 0.1)

    expected = [
        [(at(a + b) - at(a - b) - at(b - a) + at(-a - b)) / 4e-8 for a in steps] for b in steps
    ]
    assert np.allclose(found.hessian, expected, atol=1e-5)


@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 5))
def test_held_out_losses_against_loops(seed, ups, downs):
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(size=ups) * 3, rng.normal(size=downs) * 3
    pairs = [math.log1p(math.exp(n - p)) for p in positive for n in negative]
    entries = [math.log1p(math.exp(-p)) for p in positive]
    entries += [math.log1p(math.exp(n)) for n in negative]
    for measure, expected in ((ranking, pairs), (likelihood, entries)):
        value, up, down = measure(positive, negative)
        assert value == pytest.approx(np.mean(expected))
        for side, slope in ((0, up), (1, down)):
            for n in range(len(slope)):
                moved = [[positive.copy(), negative.copy()] for _ in range(2)]
                moved[0][side][n] += 1e-5
                moved[1][side][n] -= 1e-5
                rise = (measure(*moved[0])[0] - measure(*moved[1])[0]) / 2e-5
                assert slope[n] == pytest.approx(rise, abs=1e-6)


@pytest.mark.parametrize("objective", ["ranking", "likelihood"])
def test_influence_is_the_slope_of_a_reweighted_fit(objective):
    """A share of a label is taken away and given back; the loss moves by that share of it."""
    features, labels, held_out = made(images=40)
    inputs, others = constant(features), constant(held_out.features)
    for column, damage in enumerate(damages(others, held_out.labels, objective)):
        targets = labels.values[:, column].astype(float)
        fitted = fit(inputs, targets, 0.01)
        rows = np.flatnonzero(targets)
        found = influences(inputs, rows, fitted, damage)
        for row, slope in zip(rows, found, strict=True):
            losses = []
            for step in (1e-3, -1e-3):
                moved = targets.copy()
                moved[row] -= step
                losses.append(damage.of(fit(inputs, moved, 0.01, fitted).weights)[0])
            assert slope == pytest.approx((losses[0] - losses[1]) / 2e-3, rel=1e-3, abs=1e-8)


def brute_force(features, labels, held_out, count, l2):
    """Refits every candidate of every step exactly."""
    inputs, others = inputs_of(features, held_out.features, 256)
    measured = damages(others, held_out.labels, "ranking")
    values, order = labels.values.copy(), []

    def loss(column, targets):
        return measured[column].of(fit(inputs, targets, l2).weights)[0]

    while len(order) < count:
        before = [loss(column, values[:, column]) for column in range(values.shape[1])]
        rises = {}
        for row, column in np.argwhere(values):
            moved = values[:, column].copy()
            moved[row] = False
            rises[int(row), int(column)] = loss(column, moved) - before[column]
        order.append(max(rises, key=rises.get))
        values[order[-1]] = False
    return order


@pytest.mark.parametrize("seed", [0, 1])
def test_first_removals_are_those_of_brute_force(seed):
    features, labels, held_out = made(seed)
    problem = problem_of(features, held_out, dimensions=256, l2=0.1, objective="ranking")
    words = np.arange(labels.known_positives, dtype=np.uint64)
    found = removal_order(problem, labels, 4, 1, words)
    rows, columns = labels.positive_entries()
    entries = list(zip(rows[found].tolist(), columns[found].tolist(), strict=True))
    assert entries == brute_force(features, labels, held_out, 4, 0.1)


@settings(max_examples=15)
@given(st.integers(0, 99), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_budgets_are_exact_and_nested(seed, rate, other, keep):
    features, labels, held_out = made(seed)
    rng = np.random.default_rng(seed)
    labels = PartialLabels(labels.values, rng.random(labels.shape) < 0.8)
    hidden = []
    for r in sorted((rate, other)):
        spec = f"greedy:rate={r!r},rounds=7,keep_negatives={str(keep).lower()}"
        left = attacks.create(spec)(labels, seed=1, knowledge=knowledge(features, held_out))
        assert np.array_equal(left.negatives, labels.negatives & keep)
        hidden.append(labels.positives & ~left.positives)
        assert hidden[-1].sum() == round(r * labels.known_positives)
    assert not (hidden[0] & ~hidden[1]).any()


def test_damage_is_done():
    """Against random removal of as many: the held-out ranking loss of the refitted surrogates."""
    features, labels, held_out = made(5, images=300, held_out=200, channels=6, labels=3)
    inputs, others = inputs_of(features, held_out.features, 256)
    measured = damages(others, held_out.labels, "ranking")
    known = knowledge(features, held_out)

    def loss(spec, seed=0):
        left = attacks.create(spec)(labels, seed=seed, knowledge=known).values
        fits = [fit(inputs, left[:, c], 1e-3) for c in range(3)]
        return np.mean([m.of(f.weights)[0] for m, f in zip(measured, fits, strict=True)])

    greedy = loss("greedy:rate=0.3")
    assert greedy > 1.3 * max(loss("targeted:rate=0.3", seed) for seed in range(5))
    assert greedy > loss("none")


def test_large_sides_are_thinned(monkeypatch):
    monkeypatch.setattr(influence, "_MOST_ITEMS", 5)
    _, _, held_out = made(held_out=60)
    inputs = constant(held_out.features)
    (damage, _) = damages(inputs, held_out.labels, "ranking")
    rows = np.flatnonzero(held_out.labels.values[:, 0])
    assert len(damage.positive) == 5 and set(damage.positive) <= set(rows)
    assert (damage.positive[0], damage.positive[-1]) == (rows[0], rows[-1])
    (damage, _) = damages(inputs, held_out.labels, "likelihood")
    assert np.array_equal(damage.positive, rows)


def test_classes_that_cannot_be_measured_come_last():
    features, labels, held_out = made()
    values = held_out.labels.values.copy()
    values[:, 0] = False
    known = knowledge(features, HeldOut(held_out.features, PartialLabels.full(values)))
    share = labels.per_class("positives")[1] / labels.known_positives
    left = attacks.create(f"greedy:rate={share / 3}")(labels, seed=0, knowledge=known)
    assert left.per_class("positives")[0] == labels.per_class("positives")[0]


def test_without_a_known_negative_hidden_entries_are_negative():
    _, _, held_out = made()
    inputs = constant(held_out.features)
    values = held_out.labels.values
    only = damages(inputs, PartialLabels(values, values), "likelihood")
    for one, other in zip(only, damages(inputs, held_out.labels, "likelihood"), strict=True):
        assert isinstance(one, Damage)
        assert np.array_equal(one.negative, other.negative)


def test_edge_cases_are_legal():
    for shape in ((0, 3), (1, 1), (5, 1)):
        for fill in (False, True):
            labels = PartialLabels.full(np.full(shape, fill))
            known = knowledge(
                np.ones((shape[0], 2), np.float32), HeldOut(np.ones((4, 2), np.float32), labels)
            )
            if shape[0]:
                known.sources["held_out"] = lambda labels=labels: HeldOut(
                    np.ones((len(labels), 2), np.float32), labels
                )
            for rate in (0, 0.5, 1):
                left = attacks.create(f"greedy:rate={rate}")(labels, seed=0, knowledge=known)
                total = labels.known_positives
                assert left.known_positives == total - round(rate * total)


def test_missing_knowledge_is_named():
    with pytest.raises(AttackError, match="attack 'greedy' needs features of each image, got none"):
        attacks.create("greedy")(np.ones((2, 2), bool), seed=0)
