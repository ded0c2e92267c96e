"""Every loss against a loop written from its formula, with gradient, on every attack's output."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import Step, Task, to_step
from labelattack.errors import DefenseError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.testing import example_labels
from labelattack.testing.defenses import example_task
from tests.formulas import basic, stateful
from tests.formulas import logits as logits_alone
from tests.formulas.basic import K, pseudo_history
from tests.formulas.terms import plus

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


FORMULAS = basic.FORMULAS | logits_alone.FORMULAS | stateful.FORMULAS


def bound(name, labels):
    loss = defenses.create(name)
    task = example_task(type(loss), labels, example_labels(), seed=0)
    loss.bind(replace(task, expected_positives=K))
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
    assert value.item() == pytest.approx(formula(z.tolist(), z.tolist(), step, fixed), rel=1e-6)
    nudge = 1e-5
    for i, j in [(0, 0), (1, 3), (2, 6), (4, 2), (5, 5)]:
        sides = []
        for sign in (1, -1):
            moved = z.detach().clone()
            moved[i, j] += sign * nudge
            sides.append(formula(moved.tolist(), z.tolist(), step, fixed))
        assert z.grad[i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * nudge), abs=1e-6)


def test_pseudo_labels_follow_three_epochs():
    labels = attacks.create("targeted")(example_labels(), seed=1)
    loss = bound("pseudo-history", labels)
    index = torch.tensor([3, 9, 20])
    past = []
    for epoch in range(1, 6):
        z = logits(3, seed=epoch)
        step = to_step(labels, index, epoch=epoch, epochs=5)
        expected = pseudo_history(z.tolist(), None, step, None, stack=past[:3])
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
