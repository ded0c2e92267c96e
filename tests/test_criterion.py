"""Losses as criteria of any training loop: the same numbers, and no other ones in silence."""

import copy
import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labelattack import Criterion, PartialLabelLoss, defenses
from labelattack.defenses.base import Task, to_step
from labelattack.errors import DefenseError, LabelError, ParameterError, UnknownNameError
from labelattack.labels import decode, encode
from labelattack.models.activation_head import ActivationHead
from labelattack.testing import EXPECTED_POSITIVES
from labelattack.testing.defenses import example_task
from labelattack.testing.simulated_device import simulated_device
from labelattack.training.criterion import parameter_use

IMAGES, CLASSES = 40, 7
# An oracle that is told the labels before the attack has no place in somebody's loop.
NAMES = [name for name in defenses.registry.names() if not defenses.registry.get(name).sees_attack]
LABELS = decode(
    np.random.Generator(np.random.PCG64(3)).integers(-1, 2, (IMAGES, CLASSES)), "missing"
)
CODES = torch.from_numpy(encode(LABELS, "missing"))
ROWS = torch.tensor([3, 0, 17, 39, 5, 8])


def logits(rows=6, seed=1):
    values = np.random.Generator(np.random.PCG64(seed)).normal(0, 2, (rows, CLASSES))
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def made(name, *, labels=LABELS, **named):
    kind = defenses.registry.get(name)
    if kind.privileged:
        named["expected_positives"] = EXPECTED_POSITIVES
    if name == "boostlu":
        named["head"] = ActivationHead(nn.Linear(3, CLASSES), 5.0)
    return Criterion(name, labels=labels, side=example_task(kind, LABELS, LABELS).side, **named)


def epochs(criterion, count=3, device="cpu"):
    """Values of two batches an epoch, with the ends of epochs."""
    values = []
    for epoch in range(1, count + 1):
        criterion.set_epoch(epoch, count)
        for rows in (torch.arange(16), torch.arange(16, IMAGES)):
            given = logits(len(rows), epoch), CODES[rows], rows
            values.append(criterion(*(tensor.to(device) for tensor in given)))
        criterion.end_epoch(logits(IMAGES, epoch + 10).to(device))
    return values


@pytest.mark.parametrize("name", NAMES)
def test_a_criterion_is_the_loss(name):
    criterion, loss = made(name), defenses.create(name)
    loss.bind(example_task(type(loss), LABELS, LABELS, seed=0))
    wanted = []
    for epoch in (1, 2, 3):
        for rows in (torch.arange(16), torch.arange(16, IMAGES)):
            wanted.append(
                loss(logits(len(rows), epoch), to_step(LABELS, rows, epoch=epoch, epochs=3))
            )
        every = to_step(LABELS, torch.arange(IMAGES), epoch=epoch, epochs=3)
        loss.end_epoch(logits(IMAGES, epoch + 10).detach(), every)
    assert torch.equal(torch.stack(epochs(criterion)), torch.stack(wanted))


@pytest.mark.parametrize("name", NAMES)
def test_a_criterion_computes_on_the_device_of_its_logits(name):
    if (device := simulated_device()) is None:
        pytest.skip("this process cannot have a simulated device")
    found = torch.stack(epochs(made(name).to(device), device=device)).cpu()
    assert torch.equal(found, torch.stack(epochs(made(name))))


@pytest.mark.parametrize("name", NAMES)
def test_reductions_are_the_mean_and_the_sum_of_the_terms(name):
    values = {}
    for reduction in ("mean", "sum", "none"):
        if reduction in defenses.registry.get(name).reductions():
            criterion = made(name, reduction=reduction)
            criterion.set_epoch(2, 3)
            values[reduction] = criterion(logits(), CODES[ROWS], ROWS).detach()
        else:
            with pytest.raises(ParameterError, match="no mean or sum over entries, got"):
                made(name, reduction=reduction)
    if "none" in values:
        assert values["none"].shape == (len(ROWS), CLASSES)
        assert values["mean"].item() == pytest.approx(values["none"].mean().item(), rel=1e-6)
        assert values["sum"].item() == pytest.approx(values["none"].sum().item(), rel=1e-6)
    native = made(name)
    native.set_epoch(2, 3)
    assert native(logits(), CODES[ROWS], ROWS).item() == values[native.loss.reduction].item()


def test_the_normaliser_of_iu_is_its_own_reduction():
    mean = Criterion("iu", normaliser="known")(logits(), CODES[ROWS])
    terms = Criterion("iu", normaliser="known", reduction="none")(logits(), CODES[ROWS])
    assert mean.item() == pytest.approx(terms.sum().item() / (CODES[ROWS] >= 0).sum().item())


DTYPES = {
    "missing": [torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64],
    "signed": [torch.int8, torch.int32, torch.float32],
    "nan": [torch.float16, torch.float32, torch.float64],
    "binary": [torch.bool, torch.uint8, torch.int64, torch.float32],
}


@pytest.mark.parametrize("encoding", DTYPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_targets_of_every_encoding_and_dtype_are_read(encoding, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    low = 0 if encoding == "binary" else -1
    codes = data.draw(
        st.lists(st.integers(low, 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    )
    missing = torch.tensor(codes).view(shape)
    target = torch.from_numpy(encode(decode(missing.numpy(), "missing"), encoding))
    target = target.to(data.draw(st.sampled_from(DTYPES[encoding])))
    z = torch.linspace(-3, 3, missing.numel()).view(shape)
    wanted = Criterion("iu", reduction="none")(z, missing)
    assert torch.equal(Criterion("iu", reduction="none", encoding=encoding)(z, target), wanted)


@pytest.mark.parametrize(
    ("target", "encoding", "said"),
    [
        (torch.full((6, 7), 0.5), "missing", "got 0.5 in row 0, column 0 .42 such"),
        (CODES[ROWS], "binary", "they fit encoding 'signed' and 'missing'"),
        (torch.full((6, 7), 255, dtype=torch.uint8), "missing", "got 255 in row 0"),
        (torch.zeros(6, 3), "missing", r"shape of the logits, \[6, 7\], got \[6, 3\]"),
        (torch.zeros(6, dtype=torch.int64), "missing", r"shape of the logits, \[6, 7\], got \[6\]"),
    ],
)
def test_targets_that_would_be_misread_are_refused(target, encoding, said):
    with pytest.raises(LabelError, match=said):
        Criterion("an", encoding=encoding)(logits(), target)


def test_a_target_of_another_image_is_refused():
    criterion = made("role")
    with pytest.raises(LabelError, match=r"labels\[4, \d\] is .*; index must be the row"):
        criterion(logits(), CODES[ROWS], ROWS + torch.tensor([1, 0, 0, 0, 0, 0]))
    criterion.check = False  # targets that are changed on purpose
    assert torch.isfinite(criterion(logits(), -CODES[ROWS], ROWS))


def test_targets_may_be_left_to_the_labels():
    given, left = made("sat"), made("sat")
    for criterion in (given, left):
        criterion.set_epoch(1, 2)
    assert torch.equal(given(logits(), CODES[ROWS], ROWS), left(logits(), index=ROWS.tolist()))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Criterion("role", expected_positives=2)(logits(), CODES[ROWS], ROWS), "training labels must be given to defense 'role' .* bind"),
        (lambda: Criterion("role", expected_positives=2).parameter_groups(0.1), "training labels must be given"),
        (lambda: made("role")(logits(), CODES[ROWS]), "index must be given for defense 'role'"),
        (lambda: made("role")(logits(), CODES[ROWS], [1, 2]), "index must be an integer for each of the 6 images"),
        (lambda: made("role")(logits(), CODES[ROWS], ROWS.float()), "index must be an integer .*float32"),
        (lambda: made("role")(logits(), CODES[ROWS], ROWS + 30), r"index must be in 0..39, got 47"),
        (lambda: made("role").bind(LABELS), "labels once"),
        (lambda: Criterion("role", labels=LABELS), "expected number of positives"),
        (lambda: made("pseudo-history")(logits(), CODES[ROWS], ROWS), "epoch must be told to defense 'pseudo-history', .*set_epoch"),
        (lambda: made("em-apl").end_epoch(logits()), r"logits of all training images must be of shape \[40, 7\]"),
        (lambda: Criterion("boostlu", labels=LABELS), "head must multiply positive class activations by 5"),
        (lambda: Criterion("an")(CODES[ROWS], CODES[ROWS]), "logits must be floats"),
        (lambda: made("role").to("meta")(logits(), CODES[ROWS], ROWS), "must be on cpu, where the logits are, got meta"),
    ],
)  # fmt: skip
def test_what_is_forgotten_is_said(call, said):
    with pytest.raises(DefenseError, match=said):
        call()


def test_parameters_and_names_have_the_rules_of_specs():
    with pytest.raises(UnknownNameError, match="did you mean 'role'"):
        Criterion("rolle")
    with pytest.raises(ParameterError, match="weight"):
        Criterion("wan", weight=-1)
    with pytest.raises(ParameterError, match="weigth.*weight"):
        Criterion("wan", weigth=1)
    with pytest.raises(ParameterError, match="must be a name to take parameters"):
        Criterion(defenses.create("wan"), weight=1)
    with pytest.raises(ParameterError, match=r"epoch must be in 1..3, got 0"):
        Criterion("wan").set_epoch(0, 3)


def test_an_epoch_that_was_not_ended_is_said():
    criterion = made("em-apl")
    criterion.set_epoch(1, 3)
    criterion(logits(), CODES[ROWS], ROWS)
    with pytest.raises(DefenseError, match="end_epoch"):
        criterion.set_epoch(2, 3)
    criterion.end_epoch(logits(IMAGES))
    criterion.set_epoch(2, 3)


def stepped(criterion, *groups, steps=4):
    optimizers = [torch.optim.SGD(group, lr=0.1) for group in groups]
    for _ in range(steps):
        criterion(logits(), CODES[ROWS], ROWS).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_a_table_in_no_optimiser_is_said():
    other = nn.Parameter(torch.zeros(1))
    with pytest.raises(DefenseError, match="parameters of defense 'role' must be in an optimiser"):
        stepped(made("role"), [other])
    for groups in (
        lambda c: [[{"params": [other]}, *c.parameter_groups(0.1)]],
        lambda c: [[other], c.parameter_groups(0.1)],  # an optimiser of its own
    ):
        criterion = made("role")
        before = criterion.loss.estimates.detach().clone()
        stepped(criterion, *groups(criterion))
        assert criterion._use not in parameter_use._followed  # later steps cost nothing
        moved = criterion.loss.estimates.detach() != before
        assert moved[ROWS].all() and not moved[[1, 2, 4]].any()


def test_optimisers_forget_criteria_that_are_gone():
    criterion = made("role")
    criterion(logits(), CODES[ROWS], ROWS)
    assert len(parameter_use._followed) >= 1
    del criterion
    gc.collect()
    followed = [use for use in parameter_use._followed if use._loss is not None]
    assert followed == []


def test_parameter_groups_have_the_losss_own_learning_rate():
    (group,) = made("role", lr_scale=5).parameter_groups(0.01)
    assert group["lr"] == pytest.approx(0.05) and group["weight_decay"] == 0
    assert made("wan").parameter_groups(0.01) == []


@pytest.mark.parametrize("name", NAMES)
def test_state_is_loaded_before_any_data_are_seen(name):
    trained = made(name)
    epochs(trained)
    trained.set_epoch(3, 3)
    later = trained(logits(), CODES[ROWS], ROWS)
    fresh = made(name, labels=None)
    fresh.load_state_dict(copy.deepcopy(epochs_state(name)))
    if fresh.needs_labels and not fresh._allocated:  # of no state: labels give all it needs
        fresh.bind(LABELS)
    fresh.set_epoch(3, 3)
    assert torch.equal(fresh(logits(), CODES[ROWS], ROWS), later)
    if fresh.labels is None and fresh.needs_labels:
        state = copy.deepcopy(fresh.state_dict())
        fresh.bind(LABELS)
        assert all(torch.equal(state[k], v) for k, v in fresh.state_dict().items())


def epochs_state(name):
    criterion = made(name)
    epochs(criterion)
    return criterion.state_dict()


def test_state_of_other_labels_is_refused():
    fresh = Criterion("sat")
    fresh.load_state_dict(made("sat").state_dict())
    with pytest.raises(
        DefenseError, match=r"must have the shape of its state, \[40, 7\], got \[2, 7\]"
    ):
        fresh.bind(np.zeros((2, 7)))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_and_other_default_devices(name):
    wanted = made(name)
    wanted.set_epoch(2, 3)
    short = logits().detach().bfloat16()
    value = wanted(short.float(), CODES[ROWS], ROWS)
    criterion = made(name)
    criterion.set_epoch(2, 3)
    half = short.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        same = criterion(half, CODES[ROWS], ROWS)
    same.backward()
    assert same.dtype == torch.float32 and torch.equal(same, value)
    assert half.grad.dtype == torch.bfloat16
    elsewhere = made(name)
    elsewhere.set_epoch(2, 3)
    torch.set_default_device("meta")  # a tensor that is made without a device has no content there
    try:
        value_there = elsewhere(short.float(), CODES[ROWS], ROWS)
        elsewhere.end_epoch(torch.zeros(IMAGES, CLASSES, device="cpu"))
    finally:
        torch.set_default_device(None)
    assert torch.equal(value_there, value)


@pytest.mark.parametrize("name", ["role", "large-loss"])
def test_compiled_criteria_give_the_same_numbers(name):
    plain, criterion = made(name), made(name)
    compiled = torch.compile(criterion, backend="aot_eager")
    for epoch in (1, 2):
        values = []
        for one, call in ((plain, plain), (criterion, compiled)):
            one.set_epoch(epoch, 2)
            z = logits(seed=epoch)
            value = call(z, CODES[ROWS], ROWS)
            value.backward()
            values.append((value.detach(), z.grad))
        torch.testing.assert_close(*values)
    torch._dynamo.reset()


class _Undeclared(PartialLabelLoss):
    def loss(self, logits, step):
        return (logits * step.index[:, None].float()).mean() * step.epoch


class _Looking(PartialLabelLoss):
    table = torch.zeros(40)

    def loss(self, logits, step):
        return (logits + self.table[step.index][:, None]).mean()


def test_losses_that_declare_nothing_are_told_or_fail():
    criterion = Criterion(_Undeclared())
    with pytest.raises(DefenseError, match="epoch must be told to _Undeclared"):
        criterion(logits(), CODES[ROWS], ROWS)
    criterion.set_epoch(2, 3)
    assert torch.isfinite(criterion(logits(), CODES[ROWS], ROWS))
    with pytest.raises(IndexError):  # rows that nobody named are no rows
        Criterion(_Looking())(logits(), CODES[ROWS])
    assert torch.isfinite(Criterion(_Looking())(logits(), CODES[ROWS], ROWS))


def test_boostlu_wants_its_head_in_the_network():
    head = ActivationHead(nn.Linear(3, CLASSES), 5.0)
    criterion, plain = (
        Criterion("boostlu", head=head, labels=LABELS),
        made("large-loss", preset="boostlu"),
    )
    for one in (criterion, plain):
        one.set_epoch(2, 3)
    z = head(torch.randn(6, 3, 2, 2))
    assert torch.equal(criterion(z, CODES[ROWS], ROWS), plain(z, CODES[ROWS], ROWS))


def test_a_task_of_ones_own_is_still_possible():
    loss = defenses.create("role", expected_positives=2)
    loss.bind(Task(labels=LABELS))
    value = loss(logits(), to_step(LABELS, ROWS))
    assert torch.equal(
        value, Criterion("role", labels=LABELS, expected_positives=2)(logits(), CODES[ROWS], ROWS)
    )
