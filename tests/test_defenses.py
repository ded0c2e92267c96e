"""Every loss against a loop written from its formula, with gradient, on every attack's output."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import Step, Task, to_step
from labelattack.errors import DefenseError, ParameterError
from labelattack.labels import PartialLabels, encode
from labelattack.testing import example_labels
from labelattack.testing.check import example_partial_labels
from labelattack.testing.defenses import example_task
from labelattack.training.vectorized.vectorize import vectorize
from labelattack.training.vectorized.vmapped_loss import VmappedLoss
from tests.formulas import basic, stateful
from tests.formulas import logits as logits_alone
from tests.formulas.basic import K, pseudo_history
from tests.formulas.terms import minus, plus, sigmoid

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
SPECS = FORMULAS | logits_alone.VARIANTS
BATCH = [5, 0, 1, 2, 17, 30]
NO_POSITIVE = PartialLabels(np.zeros((40, 7), bool), np.arange(7) > np.zeros((40, 1)))
# Labels (those of an attack if a name), images of the batch, epoch, epochs.
ODD_BATCHES = {
    "no positive": (NO_POSITIVE, BATCH, 2, 4),
    "row 3 empty": (example_partial_labels(), [3, 4, 11], 2, 4),
    "all known": (PartialLabels.full(example_labels()), BATCH, 3, 4),
    "one image": ("targeted", [1], 2, 4),
    "one empty image": (example_partial_labels(), [3], 2, 4),
    "first epoch": ("targeted:keep_negatives=true", BATCH, 1, 4),
    "last epoch": ("targeted:keep_negatives=true", BATCH, 10, 10),
    "last of very many": ("random", BATCH, 1000, 1000),
}


def bound(name, labels):
    loss = defenses.create(name)
    task = example_task(type(loss), labels, PartialLabels.full(example_labels()), seed=0)
    loss.bind(replace(task, expected_positives=K))
    return loss


def logits(rows, seed=0):
    values = np.random.default_rng(seed).normal(0, 1.5, (rows, 7))
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_every_registered_defense_has_a_formula():
    built_in = {d.name for d in defenses.registry.declarations() if d.origin == "built-in"}
    assert set(FORMULAS) == built_in


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", SPECS)
def test_value_and_gradient_match_the_formula(name, attack):
    require_formula(name, attack, BATCH, 2, 4)


@pytest.mark.parametrize("case", ODD_BATCHES)
@pytest.mark.parametrize("name", SPECS)
def test_value_and_gradient_match_the_formula_in_odd_batches(name, case):
    require_formula(name, *ODD_BATCHES[case])


def require_formula(name, labels, images, epoch, epochs):
    if isinstance(labels, str):
        labels = attacks.create(labels)(example_labels(), seed=1)
    step = to_step(labels, torch.tensor(images), epoch=epoch, epochs=epochs)
    z = logits(len(images))
    value = bound(name, labels)(z, step)
    value.backward()
    formula = SPECS[name]
    fixed = bound(name, labels)  # the loop reads state as it was before the step
    assert value.item() == pytest.approx(formula(z.tolist(), z.tolist(), step, fixed), rel=1e-6)
    nudge = 1e-5
    for i, j in [(0, 0), (1, 3), (2, 6), (4, 2), (5, 5)]:
        if i >= len(images):
            break
        sides = []
        for sign in (1, -1):
            moved = z.detach().clone()
            moved[i, j] += sign * nudge
            sides.append(formula(moved.tolist(), z.tolist(), step, fixed))
        assert z.grad[i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * nudge), abs=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_large_float32_logits_give_what_float64_gives(name):
    labels = attacks.create("random")(example_labels(), seed=1)
    signs = torch.where(torch.rand(40, 7, generator=torch.Generator().manual_seed(3)) < 0.5, -1, 1)
    for size in (15, 80):
        for epoch in (1, 2, 4):
            step = to_step(labels, torch.arange(40), epoch=epoch, epochs=4)
            found = []
            for dtype in (torch.float32, torch.float64):
                z = (size * signs).to(dtype).requires_grad_()
                value = bound(name, labels)(z, step)
                value.backward()
                found += [value.detach().double(), z.grad.double()]
            assert all(torch.isfinite(each).all() for each in found)
            torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found[1], found[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", logits_alone.VARIANTS)
def test_runs_with_any_settings_share_one_recorded_call(name):
    """The losses' defaults are covered where heads are trained in groups."""
    of_runs = [attacks.create("random")(example_labels(), seed=seed) for seed in range(3)]
    losses = [bound(name, labels) for labels in of_runs]
    signs = torch.from_numpy(np.stack([encode(labels, "signed") for labels in of_runs]))
    together = vectorize(losses, range(3), signs, lambda run: signs[run], calls=10_000)
    assert isinstance(together, VmappedLoss)
    for epoch in (1, 2, 2):
        steps = [to_step(each, torch.arange(40), epoch=epoch, epochs=3) for each in of_runs]
        parts = {k: torch.stack([getattr(s, k) for s in steps]) for k in ("positives", "negatives")}
        step = Step(**parts, index=torch.arange(40).repeat(3, 1), epoch=epoch, epochs=3)
        z = torch.randn(3, 40, 7, generator=torch.Generator().manual_seed(epoch))
        alone = [loss(z[run], steps[run]) for run, loss in enumerate(losses)]
        torch.testing.assert_close(together(z, step, {})[0], torch.stack(alone))
    assert together.recording is not None and not together.fallbacks


SUMS = [name for name in SPECS if defenses.create(name).reduction == "sum"]


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_its_mean_times_the_number_of_entries(name):
    labels = attacks.create("random")(example_labels(), seed=1)
    step = to_step(labels, torch.arange(6), epoch=2, epochs=4)
    z = logits(6)
    total, mean = bound(name, labels), bound(name, labels)
    mean.as_mean = True
    assert total(z, step).item() == pytest.approx(42 * mean(z, step).item(), rel=1e-12)


def test_iu_divides_by_labels_or_by_known_entries():
    labels = attacks.create("random")(example_labels(), seed=1)
    step = to_step(labels, torch.arange(6))
    z = logits(6)
    observed = (~step.hidden).sum().item()
    by_labels, by_known = (bound(f"iu:normaliser={each}", labels) for each in ("labels", "known"))
    assert 0 < observed < 42
    assert observed * by_known(z, step).item() == pytest.approx(42 * by_labels(z, step).item())
    assert bound("iu", labels)(z, step) == by_labels(z, step)
    nothing = PartialLabels(np.zeros((6, 7), bool), np.zeros((6, 7), bool))
    assert by_known(z, to_step(nothing, torch.arange(6))).item() == 0


def test_splc_corrects_from_the_second_epoch_without_margin():
    z = torch.tensor([[1.0, 0.3, -1.0, 2.0]], dtype=torch.float64)  # p .73, .57, .27, .88
    values, observed = np.array([[0, 0, 0, 0]], bool), np.array([[0, 0, 0, 1]], bool)
    labels = PartialLabels(values, observed)
    negative = [sigmoid(x) ** 2 * minus(x) for x in z[0].tolist()]
    corrected = (1 - sigmoid(1.0)) ** 2 * plus(1.0)
    loss = bound("splc", labels)
    for epoch, first in ((1, negative[0]), (2, corrected), (3, corrected)):
        value = loss(z, to_step(labels, torch.tensor([0]), epoch=epoch, epochs=3)).item()
        assert value == pytest.approx(first + sum(negative[1:]))


def test_asl_has_a_gradient_where_a_probability_is_the_clip():
    labels = PartialLabels(np.zeros((1, 1), bool), np.zeros((1, 1), bool))
    z = torch.zeros(1, 1, requires_grad=True)
    loss = bound("asl:clip=0.5,gamma_neg=0.5,detach=false", labels)
    loss(z, to_step(labels, torch.tensor([0]))).backward()
    assert torch.isfinite(z.grad).all()


def test_gr_schedules_over_three_epochs():
    x = 0.4
    p = sigmoid(x)
    z = torch.tensor([[x]], dtype=torch.float64)
    labels = PartialLabels(np.zeros((1, 1), bool), np.zeros((1, 1), bool))
    loss = bound("gr:preset=coco", labels)
    # w 0 to 10 and b -2 to -8 at 0, 1/3, 2/3; centre .5 to .8 and width 2 to .5 at 1/3, 2/3, 1.
    schedule = [(0, -2, 0.6, 1.5), (10 / 3, -4, 0.7, 1.0), (20 / 3, -6, 0.8, 0.5)]
    for epoch, (w, b, centre, width) in enumerate(schedule, start=1):
        k = sigmoid(w * p + b)
        v = math.exp(-((p - centre) ** 2) / (2 * width**2))
        expected = v * (k * (1 - p**0.01) / 0.01 + (1 - k) * p)
        value = loss(z, to_step(labels, torch.tensor([0]), epoch=epoch, epochs=3)).item()
        assert value == pytest.approx(expected)


def test_iun_learns_from_hidden_negatives_and_not_from_hidden_positives():
    known = PartialLabels(np.array([[1, 1, 0, 0]], bool), np.array([[1, 1, 1, 0]], bool))
    labels = PartialLabels(known.values, np.array([[1, 0, 0, 0]], bool))
    loss = defenses.create("iun")
    with pytest.raises(DefenseError, match="'iun' needs the labels from before the attack"):
        loss.bind(Task(labels=labels))
    loss.bind(Task(labels=labels, known=known))
    z = torch.tensor([[0.5, 1.0, -0.5, 2.0]], dtype=torch.float64)
    value = loss(z, to_step(labels, torch.tensor([0]))).item()
    assert value == pytest.approx((plus(0.5) + minus(-0.5)) / 4)


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
