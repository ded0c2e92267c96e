"""Every loss against a loop written from its formula, with gradient, on every attack's output."""

import math

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import Step, Task, to_step
from labelattack.errors import DefenseError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.testing import example_labels

ATTACKS = [
    "none",
    "targeted",
    "targeted:keep_negatives=true",
    "targeted:scope=image",
    "single-positive",
    "random",
    "random:rate=0.8",
    "targeted:rate=1",
]
K = 1.7


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def cell_mean(z, step, term):
    """Mean over all cells of term(z, state), state +1, -1 or 0 for hidden."""
    total = 0.0
    for i in range(len(z)):
        for j in range(len(z[0])):
            total += term(z[i][j], state(step, i, j))
    return total / (len(z) * len(z[0]))


def state(step, i, j):
    return int(step.positives[i, j]) - int(step.negatives[i, j])


def plus(z):
    return -math.log(sigmoid(z))


def minus(z):
    return -math.log(1 - sigmoid(z))


def soft(z, t):
    return t * plus(z) + (1 - t) * minus(z)


def known(z, s):
    return plus(z) if s == 1 else minus(z) if s == -1 else 0.0


def penalty(rows, k):
    counts = [sum(row) for row in rows]
    return ((sum(counts) / len(counts) - k) / len(rows[0])) ** 2


def smooth(epsilon):
    return lambda z, step, _: cell_mean(
        z, step, lambda x, s: soft(x, 1 - epsilon if s == 1 else epsilon)
    )


def reference(epsilon):
    """Smoothed where known; unknown entries count as negative only where no negative is known."""
    return lambda z, step, loss: cell_mean(
        z,
        step,
        lambda x, s: (
            0.0 if loss.leaves_out and s == 0 else soft(x, 1 - epsilon if s == 1 else epsilon)
        ),
    )


def role(z, step, loss):
    theta = loss.estimates.detach()[step.index].tolist()
    total = cell_mean(z, step, known) + cell_mean(theta, step, known)
    cross = 0.0
    for zi, ti in zip(z, theta, strict=True):
        for x, t in zip(zi, ti, strict=True):
            cross += soft(x, sigmoid(t)) + soft(t, sigmoid(x))
    total += cross / (len(z) * len(z[0]))
    for rows in (z, theta):
        total += penalty([[sigmoid(x) for x in row] for row in rows], K)
    return total / 2


def pseudo_history(z, step, loss, stack=()):
    weights = (0.5, 0.3, 0.2)
    total = 0.0
    labels = len(z[0])
    for i, row in enumerate(z):
        observed = hidden = square = 0.0
        for j, x in enumerate(row):
            s = state(step, i, j)
            used = [(w, past[i][j]) for w, past in zip(weights, stack, strict=False)]
            target = sum(w * p for w, p in used) / sum(w for w, _ in used) if used else 1.0
            if s == 0:
                hidden += soft(x, target)
            else:
                observed += known(x, s)
            square += (sigmoid(x) - 1) ** 2
        total += observed / labels + math.exp(step.epoch - step.epochs) * hidden / labels
        total += 1 - math.sqrt(square / labels)
    return total / len(z)


FORMULAS = {
    "bce": reference(0.0),
    "bce-ls": reference(0.1),
    "an": smooth(0.0),
    "an-ls": smooth(0.1),
    "wan": lambda z, step, _: cell_mean(
        z, step, lambda x, s: known(x, s) if s else minus(x) / (len(z[0]) - 1)
    ),
    "iu": lambda z, step, _: cell_mean(z, step, known),
    "epr": lambda z, step, _: (
        cell_mean(z, step, known) + penalty([[sigmoid(x) for x in row] for row in z], K)
    ),
    "role": role,
    "pseudo-history": pseudo_history,
}


def bound(name, labels):
    loss = defenses.create(name)
    loss.bind(Task(labels=labels, seed=0, expected_positives=K))
    return loss


def logits(rows, seed=0):
    values = np.random.default_rng(seed).normal(0, 1.5, (rows, 7))
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_every_registered_defense_has_a_formula():
    built_in = {d.name for d in defenses.registry.declarations() if d.origin == "built-in"}
    assert set(FORMULAS) == built_in


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_match_the_formula(name, attack):
    labels = attacks.create(attack)(example_labels(), seed=1)
    index = torch.tensor([5, 0, 1, 2, 17, 30])
    step = to_step(labels, index, epoch=2, epochs=4)
    z = logits(6)
    value = bound(name, labels)(z, step)
    value.backward()
    formula = FORMULAS[name]
    fixed = bound(name, labels)  # the loop reads state as it was before the step
    assert value.item() == pytest.approx(formula(z.tolist(), step, fixed), rel=1e-6)
    nudge = 1e-5
    for i, j in [(0, 0), (1, 3), (2, 6), (4, 2), (5, 5)]:
        sides = []
        for sign in (1, -1):
            moved = z.detach().clone()
            moved[i, j] += sign * nudge
            if name == "role":  # what is held fixed must stay so in the difference
                sides.append(role_detached(moved.tolist(), z.tolist(), step, fixed))
            else:
                sides.append(formula(moved.tolist(), step, fixed))
        assert z.grad[i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * nudge), abs=1e-6)


def role_detached(moved, still, step, loss):
    """ROLE as a function of the logits alone, with the targets of the estimates held fixed."""
    theta = loss.estimates.detach()[step.index].tolist()
    cross = sum(
        soft(x, sigmoid(t))
        for zi, ti in zip(moved, theta, strict=True)
        for x, t in zip(zi, ti, strict=True)
    ) / (len(moved) * len(moved[0]))
    total = cell_mean(moved, step, known) + cross
    return (total + penalty([[sigmoid(x) for x in row] for row in moved], K)) / 2


def test_pseudo_labels_follow_three_epochs():
    labels = attacks.create("targeted")(example_labels(), seed=1)
    loss = bound("pseudo-history", labels)
    index = torch.tensor([3, 9, 20])
    past = []
    for epoch in range(1, 6):
        z = logits(3, seed=epoch)
        step = to_step(labels, index, epoch=epoch, epochs=5)
        expected = pseudo_history(z.tolist(), step, None, stack=past[:3])
        assert loss(z, step).item() == pytest.approx(expected, rel=1e-6)
        past.insert(0, z.detach().sigmoid().tolist())


def test_pseudo_history_options_against_their_meaning():
    labels = attacks.create("random")(example_labels(), seed=1)
    step = to_step(labels, torch.arange(8), epoch=1, epochs=2)
    z = logits(8)
    p = z.detach().sigmoid()

    def with_penalty(options):
        bare = ",".join(o for o in options.split(",") if not o.startswith("penalty"))
        without = "pseudo-history:penalty=0" + (f",{bare}" if bare else "")
        return (
            bound(f"pseudo-history:{options}", labels)(z, step) - bound(without, labels)(z, step)
        ).item()

    def distance(reference, scope, order):
        d = ((p - reference).abs() * scope).double()
        n = scope.sum(1).clamp_min(1)
        value = (d**2).sum(1).div(n).sqrt() if order == 2 else d.sum(1) / n
        return torch.where(scope.sum(1) > 0, 1 - value, 0).mean().item()

    everything = torch.ones_like(step.hidden)
    for options, expected in {
        "penalty=1": distance(1, everything, 2),
        "penalty=2": 2 * distance(1, everything, 2),
        "penalty_reference=zeros": distance(0, everything, 2),
        "penalty_reference=pseudo,init=0.3": distance(0.3, everything, 2),
        "penalty_scope=hidden": distance(1, step.hidden, 2),
        "penalty_scope=observed": distance(1, ~step.hidden, 2),
        "penalty_norm=l1": distance(1, everything, 1),
    }.items():
        assert with_penalty(options) == pytest.approx(expected, rel=1e-5), options


@pytest.mark.parametrize(("schedule", "weight"), [("linear", 0.5), ("constant", 1.0)])
def test_pseudo_history_schedules(schedule, weight):
    labels = PartialLabels(np.zeros((1, 7), bool), np.zeros((1, 7), bool))
    step = to_step(labels, torch.tensor([0]), epoch=2, epochs=4)
    z = logits(1)
    loss = bound(f"pseudo-history:schedule={schedule},penalty=0", labels)
    expected = weight * sum(plus(x) for x in z[0].tolist()) / 7
    assert loss(z, step).item() == pytest.approx(expected)


def test_penalty_gradient_is_finite_at_the_trivial_solution():
    labels = attacks.create("targeted")(example_labels(), seed=1)
    z = torch.full((40, 7), 100.0, requires_grad=True)
    bound("pseudo-history", labels)(z, to_step(labels, torch.arange(40))).backward()
    assert torch.isfinite(z.grad).all()


def test_weights_must_sum_to_one():
    with pytest.raises(ParameterError, match=r"must be 1, got 1\.5"):
        defenses.create("pseudo-history:alpha=1")


def test_expected_positives_must_come_from_somewhere():
    labels = PartialLabels.full(example_labels())
    with pytest.raises(DefenseError, match="role:expected_positives=K"):
        defenses.create("role").bind(Task(labels=labels))


def test_shape_mismatch_is_named():
    step = Step(
        positives=torch.zeros(2, 3, dtype=torch.bool),
        negatives=torch.zeros(2, 3, dtype=torch.bool),
        index=torch.arange(2),
    )
    with pytest.raises(DefenseError, match=r"\(2, 4\) and \(2, 3\)"):
        defenses.create("an")(torch.zeros(2, 4), step)
