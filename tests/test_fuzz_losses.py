"""Every loss is finite on thousands of small label matrices, and leaves its inputs alone."""

import os

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import to_step
from labelattack.errors import LabelAttackError
from labelattack.labels import PartialLabels
from labelattack.testing.defenses import example_task

VARIANTS = [
    "random:rate=0.8",
    "targeted:keep_negatives=true",
    "targeted:rate=1",
    "targeted:scope=image",
]


def runs_alone(attack):
    """Whether an attack needs nothing but labels: no file, no side table."""
    try:
        attacks.create(attack)(np.ones((2, 2), bool), seed=0)
    except LabelAttackError:
        return False
    return True


ATTACKS = VARIANTS + [d.name for d in attacks.registry.declarations() if runs_alone(d.name)]
DEFENSES = [d.name for d in defenses.registry.declarations() if d.origin == "built-in"]
MATRICES = int(os.environ.get("FUZZ_MATRICES", "3000"))
EACH = max(100, -(-MATRICES // len(DEFENSES)))


def drawn_labels(rng):
    """Known labels of a shape from 1 x 1 to 12 x 9: none, few, many or all positive or known."""
    shape = rng.integers(1, 13), rng.integers(1, 10)
    positive, known = rng.choice([0, 0.1, 0.5, 1], p=[0.1, 0.4, 0.4, 0.1]), rng.choice([0, 0.4, 1])
    if rng.random() < 0.5:
        known = 1
    return PartialLabels(rng.random(shape) < positive, rng.random(shape) < known)


def require_finite(loss, labels, rows, epoch, rng):
    step = to_step(labels, torch.from_numpy(rows), epoch=epoch, epochs=2)
    size = float(rng.choice([0, 1, 5, 80]))
    z = torch.from_numpy(rng.normal(0, size, step.positives.shape).astype(np.float32))
    given = [z, step.positives, step.negatives, step.index]
    before = [each.clone() for each in given]
    z.requires_grad_()
    value = loss(z, step)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(z.grad).all()
    assert all(torch.equal(a.detach(), b) for a, b in zip(given, before, strict=True))


def require_end_of_epoch(loss, labels, epoch, rng):
    everything = to_step(labels, torch.arange(len(labels)), epoch=epoch, epochs=2)
    z = torch.from_numpy(rng.normal(0, 3, labels.shape).astype(np.float32))
    given = [z, everything.positives, everything.negatives]
    before = [each.clone() for each in given]
    with torch.no_grad():
        loss.end_epoch(z, everything)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(torch.isfinite(t).all() for t in loss.state_dict().values())


@pytest.mark.parametrize("name", DEFENSES)
def test_loss_and_gradient_are_finite(name):
    rng = np.random.default_rng(sum(name.encode()))
    for number in range(EACH):
        known = drawn_labels(rng)
        attack = ATTACKS[number % len(ATTACKS)]
        labels = attacks.create(attack)(known, seed=number)
        loss = defenses.create(name)
        loss.bind(example_task(type(loss), labels, known, seed=number))
        cut = int(rng.integers(0, len(labels)))
        for epoch in (1, 2):
            order = rng.permutation(len(labels))
            for rows in (order[:cut], order[cut:]):
                if len(rows):
                    require_finite(loss, labels, rows, epoch, rng)
            require_end_of_epoch(loss, labels, epoch, rng)


def test_there_are_as_many_matrices_as_promised():
    assert EACH >= 100 and EACH * len(DEFENSES) >= MATRICES >= 3_000
    assert {"none", "random", "single-positive", "targeted"} <= set(ATTACKS)
