"""Contract of defenses, on the output of every built-in attack."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from labelattack import attacks, defenses
from labelattack.defenses.base import PartialLabelLoss, Task, to_step
from labelattack.labels import PartialLabels, SideTables
from labelattack.registry.spec import Spec
from labelattack.testing.check import EXPECTED_POSITIVES, Kind, example_labels, require
from labelattack.testing.simulated_device import same_device_required, simulated_device

ATTACKS = (
    "none", "targeted", "targeted:keep_negatives=true", "single-positive", "random",
    "targeted:rate=1",
)  # fmt: skip


def example_task(
    loss: type[PartialLabelLoss], labels: PartialLabels, known: PartialLabels, *, seed: int = 1
) -> Task:
    """A task with all that a loss declares to use; side tables are made up.

    Args:
        loss: Class of the loss.
        labels: Attacked labels.
        known: Labels before the attack.
        seed: Seed of the loss.
    """
    images, classes = labels.shape
    draw = np.random.Generator(np.random.PCG64(2))
    side = SideTables(
        scores=draw.random((images, classes), dtype=np.float32),
        priors=draw.random(classes),
        groups=tuple(str(row // 4) for row in range(images)),
        parents=np.arange(-1, classes - 1),
    )
    return Task(
        labels=labels,
        seed=seed,
        expected_positives=EXPECTED_POSITIVES,
        side=side.only(loss.side_tables),
        known=known if loss.sees_attack else None,
    )


def _bound(spec: str, labels: PartialLabels) -> PartialLabelLoss:
    loss = defenses.create(spec)
    loss.bind(example_task(type(loss), labels, PartialLabels.full(example_labels())))
    return loss


def _attacked(attack: str) -> PartialLabels:
    return attacks.create(attack)(example_labels(), seed=5)


def _logits(rows: int, labels: int = 7) -> Tensor:
    values = np.random.Generator(np.random.PCG64(1)).normal(0, 3, (rows, labels))
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def keeps_final_forward(spec: str) -> None:
    """The base class checks what a loss is given and returns."""
    kept = defenses.registry.get(Spec.parse(spec).name).forward is PartialLabelLoss.forward
    require(kept, "must not override forward; implement loss")


def accepts_every_attack(spec: str) -> None:
    """Loss and gradient are finite in every epoch and batch."""
    for labels in map(_attacked, ATTACKS):
        loss = _bound(spec, labels)
        for epoch in (1, 2, 3):
            for rows in (np.arange(16), np.arange(16, 40), np.arange(1)):
                z = _logits(len(rows))
                step = to_step(labels, torch.from_numpy(rows), epoch=epoch, epochs=3)
                value = loss(z, step)
                value.backward()
                finite = bool(torch.isfinite(value)) and z.grad is not None
                require(
                    finite and bool(torch.isfinite(z.grad).all()),  # type: ignore[arg-type]
                    f"loss and gradient must be finite, got {value.item()}",
                )
            everything = to_step(labels, torch.arange(len(labels)), epoch=epoch, epochs=3)
            loss.end_epoch(_logits(len(labels)).detach(), everything)


def is_finite_at_extremes(spec: str) -> None:
    """Logits may be large."""
    labels = _attacked("random")
    for size in (-80.0, 0.0, 80.0):
        z = torch.full((40, 7), size, requires_grad=True)
        value = _bound(spec, labels)(z, to_step(labels, torch.arange(40)))
        value.backward()
        require(
            bool(torch.isfinite(value)) and bool(torch.isfinite(z.grad).all()),  # type: ignore[arg-type]
            f"must be finite at logits of {size}, got {value.item()}",
        )


def reads_no_hidden_label(spec: str) -> None:
    """A hidden label makes no difference."""
    labels = _attacked("random")
    flipped = PartialLabels(labels.values | labels.hidden, labels.observed)
    pair = [
        _bound(spec, x)(_logits(40), to_step(x, torch.arange(40))).item() for x in (labels, flipped)
    ]
    require(pair[0] == pair[1], f"must not depend on hidden labels, got {pair}")


def resumes_from_checkpoint(spec: str) -> None:
    """All state is in the state_dict."""
    labels = _attacked("targeted")
    steps = [to_step(labels, torch.arange(40), epoch=e, epochs=3) for e in (1, 2, 3)]
    loss, fresh = _bound(spec, labels), _bound(spec, labels)
    for step in steps[:2]:
        loss(_logits(40), step)
        loss.end_epoch(_logits(40).detach() + step.epoch, step)
    fresh.load_state_dict(copy.deepcopy(loss.state_dict()))
    pair = [x(_logits(40), steps[2]).item() for x in (loss, fresh)]
    require(pair[0] == pair[1], f"must go on from its state_dict, got {pair}")


def computes_on_the_device_of_its_inputs(spec: str) -> None:
    """On a GPU no tensor is made on the CPU, and a checkpoint goes from one device to the other."""
    device, cpu = simulated_device(), torch.device("cpu")
    if device is None:  # no release of torch that can have one
        return
    with same_device_required():
        usual, *others = (
            _trained(spec, first, then)
            for first, then in ((cpu, cpu), (device, cpu), (cpu, device))
        )
    same = all(all(map(torch.equal, usual, found)) for found in others)
    require(same, "must compute the same on another device as on the CPU")


def _trained(spec: str, first: torch.device, then: torch.device) -> list[Tensor]:
    """Values, gradients and states of two epochs on one device and one on another."""
    labels = _attacked("random")
    loss, found = _bound(spec, labels).to(first), []
    for epoch, device in ((1, first), (2, first), (3, then)):
        if device != first:
            state, loss = loss.state_dict(), _bound(spec, labels).to(device)
            loss.load_state_dict(state)
        step = to_step(labels, torch.arange(40).to(device), epoch=epoch, epochs=3)
        logits = _logits(40).detach().to(device).requires_grad_()
        loss.zero_grad()
        value = loss(logits, step)
        value.backward()
        loss.end_epoch(logits.detach(), step)
        assert logits.grad is not None
        slopes = [p.grad for p in loss.parameters() if p.grad is not None]
        made = value.detach(), logits.grad, *slopes, *loss.state_dict().values()
        found += [tensor.cpu().clone() for tensor in made]
    return found


def leaves_inputs_alone(spec: str) -> None:
    """Logits and labels stay as they are."""
    labels = _attacked("random")
    step = to_step(labels, torch.arange(40))
    before = [t.clone() for t in (step.positives, step.negatives, step.index)]
    z = _logits(40)
    _bound(spec, labels)(z, step)
    same = all(
        torch.equal(a, b)
        for a, b in zip(before, (step.positives, step.negatives, step.index), strict=True)
    )
    require(same and torch.equal(z, _logits(40)), "must not change logits or labels")


KIND = Kind(
    defenses.registry,
    (
        keeps_final_forward,
        accepts_every_attack,
        is_finite_at_extremes,
        reads_no_hidden_label,
        resumes_from_checkpoint,
        computes_on_the_device_of_its_inputs,
        leaves_inputs_alone,
    ),
)
defense_checks = KIND.checks
