"""Losses with state: three epochs traced by plain loops, and resuming in the middle."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import to_step
from labelattack.labels import PartialLabels, SideTables, encode
from labelattack.testing import example_labels
from labelattack.testing.defenses import example_task
from labelattack.training.vectorized import vmapped_loss
from labelattack.training.vectorized.vectorize import vectorize
from labelattack.training.vectorized.vmapped_loss import VmappedLoss
from tests.formulas.basic import K
from tests.formulas.stateful import FORMULAS
from tests.formulas.terms import sigmoid

IMAGES, LABELS = 40, 7
BATCHES = [[*range(0, 16)], [*range(16, 40)]]
SPECS = {
    "em-apl": "em-apl:warmup=1",
    "csl": "csl:warmup=1",
    "crisp": "crisp",
    "pseudo-threshold": "pseudo-threshold:warmup=1",
    "sat": "sat:start=1",
    "elr": "elr",
    "vlpl": "vlpl",
    "gpr": "gpr:preset=coco",
}
QUANTILE = "pseudo-threshold:warmup=1,threshold=class-quantile"
TRACED = [
    *list(SPECS.items())[:6],
    ("pseudo-threshold", QUANTILE),
    ("sat", "sat:start=1,scope=hidden"),
    ("csl", "csl:warmup=1,preset=fpc,likeliest=2"),
]


def attacked(attack):
    return attacks.create(attack)(example_labels(), seed=1)


def bound(spec, labels, *, side=True):
    loss = defenses.create(spec)
    task = replace(
        example_task(type(loss), labels, PartialLabels.full(example_labels()), seed=0),
        expected_positives=K,
    )
    loss.bind(task if side else replace(task, side=SideTables()))
    return loss


def started(spec, labels):
    """Bound; csl without the priors of the task, so that it estimates them."""
    return bound(spec, labels, side=not spec.startswith("csl"))


def logits(rows=IMAGES, seed=0, *, dtype=torch.float64):
    values = np.random.default_rng(seed).normal(0, 2, (rows, LABELS))
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def step_of(labels, rows, epoch, epochs=4):
    return to_step(labels, torch.as_tensor(rows), epoch=epoch, epochs=epochs)


def predictions(epoch):
    """End-of-epoch logits, float32 as they are given."""
    return logits(seed=100 + epoch, dtype=torch.float32).detach()


def states(labels):
    signs = encode(labels, "signed").tolist()
    return [(i, j, signs[i][j]) for i in range(IMAGES) for j in range(LABELS)]


def sigmoids(epoch):
    """As float32, as the losses see them, in a list of rows."""
    return predictions(epoch).sigmoid().tolist()


def assert_agrees(formula, loss, z, step, *, places=((0, 0), (3, 2), (7, 6), (11, 4))):
    """Value and gradient of a step, with its effect on a copy's state."""
    before = copy.deepcopy(loss)
    value = loss(z, step)
    (gradient,) = torch.autograd.grad(value, z)
    still = z.tolist()
    assert value.item() == pytest.approx(formula(still, still, step, before), rel=1e-6, abs=1e-7)
    for i, j in places:
        sides = []
        for nudge in (1e-5, -1e-5):
            moved = z.detach().clone()
            moved[i, j] += nudge
            sides.append(formula(moved.tolist(), still, step, before))
        slope = (sides[0] - sides[1]) / 2e-5
        assert gradient[i, j].item() == pytest.approx(slope, abs=1e-6, rel=1e-6)


# --- state after an epoch, by loops; each takes the state before, and gives that after


def em_apl_after(labels, epoch, epochs, soft, loss):
    p = sigmoids(epoch)
    for j in range(LABELS):
        unknown = [i for i, column, s in states(labels) if column == j and s == 0]
        number = math.floor(0.9 * len(unknown) / (epochs - loss.warmup))
        free = sorted((p[i][j], i) for i in unknown if soft[i][j] == -1)
        for q, i in free[:number]:
            soft[i][j] = q
    return soft


def fixed_after(labels, epoch, epochs, pseudo, loss):
    p = sigmoids(epoch)
    for i, j, s in states(labels):
        pseudo[i][j] = pseudo[i][j] or (s == 0 and p[i][j] > 0.8)
    return pseudo


def quantile_after(labels, epoch, epochs, pseudo, loss):
    z = predictions(epoch).tolist()
    pseudo = [[False] * LABELS for _ in range(IMAGES)]
    for j in range(LABELS):
        unknown = [i for i, column, s in states(labels) if column == j and s == 0]
        seen = sum(s == 1 for _, column, s in states(labels) if column == j)
        number = len(unknown) * seen // IMAGES
        for _, i in sorted((-z[i][j], i) for i in unknown)[:number]:
            pseudo[i][j] = True
    return pseudo


def crisp_after(labels, epoch, epochs, prior, loss):
    z = predictions(epoch).tolist()
    for j in range(LABELS):
        positive = [i for i, column, s in states(labels) if column == j and s == 1]
        if not positive:
            continue
        best = (math.inf, None)
        for threshold in sorted({row[j] for row in z}, reverse=True):
            q = sum(row[j] >= threshold for row in z) / IMAGES
            q_p = sum(z[i][j] >= threshold for i in positive) / len(positive)
            if q_p == 0:
                continue
            width = math.sqrt(math.log(4 / 0.01) / (2 * IMAGES))
            width += math.sqrt(math.log(4 / 0.01) / (2 * len(positive)))
            bound = q / q_p + 1.01 / q_p * width
            if bound < best[0]:
                best = bound, q / q_p
        prior[j] = best[1]
    return prior


def csl_after(labels, epoch, epochs, prior, loss):
    if epoch == loss.warmup:
        p = sigmoids(epoch)
        prior = [sum(row[j] for row in p) / IMAGES for j in range(LABELS)]
    return prior


AFTER = {
    "em-apl": ("soft", em_apl_after),
    "csl": ("prior", csl_after),
    "crisp": ("prior", crisp_after),
    "pseudo-threshold": ("pseudo", fixed_after),
    QUANTILE: ("pseudo", quantile_after),
}


@pytest.mark.parametrize("attack", ["targeted", "random", "random:rate=0.8", "single-positive"])
@pytest.mark.parametrize(("name", "spec"), TRACED, ids=[spec for _, spec in TRACED])
def test_three_epochs_follow_the_formulas(name, spec, attack):
    labels = attacked(attack)
    loss = started(spec, labels)
    buffer, after = AFTER.get(spec, AFTER.get(name, (None, None)))
    mine = copy.deepcopy(getattr(loss, buffer).tolist()) if buffer else None
    for epoch in (1, 2, 3):
        for rows in BATCHES:
            z = logits(len(rows), seed=epoch)
            assert_agrees(FORMULAS[name], loss, z, step_of(labels, rows, epoch))
        everything = step_of(labels, range(IMAGES), epoch)
        with torch.no_grad():
            loss.end_epoch(predictions(epoch), everything)
        if buffer:
            mine = after(labels, epoch, 4, mine, loss)
            found = getattr(loss, buffer).tolist()
            torch.testing.assert_close(torch.tensor(found), torch.tensor(mine), rtol=1e-6, atol=0)


@pytest.mark.parametrize("attack", ["targeted", "random"])
def test_targets_of_sat_by_hand(attack):
    labels = attacked(attack)
    for scope in ("all", "hidden"):
        loss = bound(f"sat:start=1,momentum=0.75,scope={scope}", labels)
        target = [[float(s == 1)] * 3 for s in encode(labels, "signed")[4].tolist()]
        for epoch in (1, 2, 3):
            z = logits(1, seed=epoch)
            loss(z, step_of(labels, [4], epoch))
            for j, s in enumerate(encode(labels, "signed")[4].tolist()):
                if epoch > 1 and (scope == "all" or s == 0):
                    target[j] = [0.75 * target[j][0] + 0.25 * sigmoid(z[0, j].item())]
            assert loss.targets[4].tolist() == pytest.approx([t[0] for t in target], abs=1e-6)
        assert torch.equal(loss.targets[5], torch.tensor(labels.positives[5]).float())


def test_running_means_of_elr_by_hand():
    labels = attacked("targeted")
    loss = bound("elr:beta=0.6", labels)
    t, s = [0.0] * LABELS, [0.0] * LABELS
    for epoch in (1, 2, 3):
        z = 4 * logits(1, seed=epoch).detach()
        loss(z, step_of(labels, [4], epoch))
        for j in range(LABELS):
            p = min(max(sigmoid(z[0, j].item()), 1e-4), 1 - 1e-4)
            t[j], s[j] = 0.6 * t[j] + 0.4 * p, 0.6 * s[j] + 0.4 * (1 - p)
        assert loss.mean[4].tolist() == pytest.approx(t, abs=1e-6)
        assert (loss.mass[4] - loss.mean[4]).tolist() == pytest.approx(s, abs=1e-6)
        assert loss.mass[5] == 0


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_it_resumes_in_the_middle_of_an_epoch(spec):
    labels = attacked("random")

    def go_on(loss, steps):
        values = []
        for epoch, rows in steps:
            if rows is None:
                with torch.no_grad():
                    loss.end_epoch(predictions(epoch), step_of(labels, range(IMAGES), epoch))
            else:
                z = logits(len(rows), seed=epoch, dtype=torch.float32)
                values.append(loss(z, step_of(labels, rows, epoch)).item())
        return values

    first, second = BATCHES
    steps = [(e, rows) for e in (1, 2, 3) for rows in (first, second, None)]
    for cut in (4, 5, 7):
        loss, fresh = started(spec, labels), started(spec, labels)
        go_on(loss, steps[:cut])
        fresh.load_state_dict(copy.deepcopy(loss.state_dict()))
        assert go_on(fresh, steps[cut:]) == go_on(loss, steps[cut:])
        for name, state in loss.state_dict().items():
            assert torch.equal(state, fresh.state_dict()[name]), name


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_large_logits_are_finite_in_every_phase(spec):
    labels = attacked("random")
    for scale in (15.0, 80.0):
        loss = started(spec, labels)
        for epoch in (1, 2, 3):
            z = (torch.sign(logits(seed=epoch, dtype=torch.float32)) * scale).detach()
            z.requires_grad_()
            value = loss(z, step_of(labels, range(IMAGES), epoch))
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(z.grad).all()
            loss.end_epoch(z.detach(), step_of(labels, range(IMAGES), epoch))


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_runs_of_several_attacks_share_a_call(spec, monkeypatch):
    """Also recorded, and in the phases that begin after an epoch's end."""
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    some = [attacked(attack) for attack in ("targeted", "random", "single-positive")]
    losses = [started(spec, labels) for labels in some]
    for labels, loss in zip(some, losses, strict=True):
        with torch.no_grad():
            loss.end_epoch(predictions(1), step_of(labels, range(IMAGES), 1))
    signs = torch.from_numpy(np.stack([encode(labels, "signed") for labels in some]))
    group = vectorize(losses, range(3), signs[:, :16], lambda run: signs[run], calls=1000)
    assert isinstance(group, VmappedLoss) and not group.fallbacks
    single = copy.deepcopy(losses)
    for epoch in (2, 2, 3, 3):
        z = torch.stack([logits(seed=n, dtype=torch.float32).detach() for n in range(3)])
        index = torch.arange(IMAGES).repeat(3, 1)
        steps = [step_of(labels, range(IMAGES), epoch) for labels in some]
        together = replace(
            steps[0],
            positives=torch.stack([step.positives for step in steps]),
            negatives=torch.stack([step.negatives for step in steps]),
            index=index,
        )
        values, _ = group(z, together, {})
        wanted = [loss(z[n], steps[n]).item() for n, loss in enumerate(single)]
        assert values.tolist() == pytest.approx(wanted, rel=1e-5)
    assert not group.fallbacks
