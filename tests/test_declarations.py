"""Losses declare what is spied on otherwise, and every fast path that is given up is told."""

import ast
import copy
import inspect
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.an import AssumeNegative
from labelattack.defenses.base import (
    EpochlessStep,
    PartialLabelLoss,
    Step,
    positive_term,
    to_step,
)
from labelattack.errors import DefenseError
from labelattack.labels import PartialLabels
from labelattack.testing.defenses import example_task
from labelattack.training import fallbacks, optimizer, vectorized
from labelattack.training.vectorized import vmapped_loss
from labelattack.training.vectorized.heads import fit_heads
from labelattack.training.vectorized.vmapped_loss import VmappedLoss
from tests.test_heads import (
    CLEAN,
    TRAIN,
    VAL,
    CountsInPython,
    FailsLate,
    KeepsPython,
    ReadsAll,
    alone,
    assert_equal_fits,
    bound,
    checked,
    some_runs,
)

NAMES = defenses.registry.names()


class Undeclared(PartialLabelLoss):
    """Reads the epoch and says nothing of it."""

    def loss(self, logits, step):
        return positive_term(logits).mean() * step.epoch / step.epochs


class Declared(Undeclared):
    uses_epoch = True


class Liar(Undeclared):
    uses_epoch = False


class LiesLate(PartialLabelLoss):
    """Reads the epoch in batches smaller than those of the probe, which has sixteen images."""

    uses_epoch = False

    def loss(self, logits, step):
        scale = step.epoch if len(logits) < 16 else 1
        return positive_term(logits).mean() * scale


def step_of(labels, rows):
    return to_step(labels, torch.as_tensor(rows), epoch=1, epochs=4)


def mapped(spec, *, declared):
    losses = [bound(defenses.create(spec), seed=seed)[0] for seed in (0, 1)]
    if not declared:
        for loss in losses:
            loss.uses_epoch = None
    return VmappedLoss(losses, range(2))


def called(group):
    step = Step(
        positives=torch.from_numpy(CLEAN[:16]).repeat(2, 1, 1),
        negatives=torch.zeros(2, 16, 4, dtype=torch.bool),
        index=torch.arange(16).repeat(2, 1),
        epoch=2,
        epochs=4,
    )
    group(torch.randn(2, 16, 4, generator=torch.manual_seed(0)), step, {})
    return group


@pytest.mark.parametrize("spec", NAMES)
def test_a_declared_epoch_is_what_spying_finds(spec):
    cls = defenses.registry.get(spec)
    assert isinstance(cls.uses_epoch, bool), f"{spec} must declare uses_epoch"
    assert bool(called(mapped(spec, declared=False)).asked) == cls.uses_epoch


@pytest.mark.parametrize("spec", NAMES)
def test_declared_state_per_image_is_what_its_shapes_and_reading_show(spec):
    cls = defenses.registry.get(spec)
    assert isinstance(cls.per_image_state, bool), f"{spec} must declare per_image_state"
    rows = []
    for images in (70, 50):
        loss = defenses.create(spec)
        labels = attacks.create("random")(CLEAN[:images], seed=0)
        loss.bind(example_task(cls, labels, PartialLabels.full(CLEAN[:images])))
        rows.append([tensor.shape[:1] == (images,) for tensor in loss.state_dict().values()])
    assert rows[0] == rows[1] and any(rows[0]) == cls.per_image_state
    runs = some_runs(lambda: defenses.create(spec))
    if [*runs[0].loss.parameters()]:
        assert checked(runs).by_rows == cls.per_image_state


@pytest.mark.parametrize("spec", NAMES)
def test_a_declaration_changes_no_bit(spec, monkeypatch):
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    declared = some_runs(lambda: defenses.create(spec))
    spied = copy.deepcopy(declared)
    for run in spied:
        run.loss.uses_epoch = run.loss.per_image_state = None
    for mine, theirs in zip(
        fit_heads(declared, TRAIN, VAL), fit_heads(spied, TRAIN, VAL), strict=True
    ):
        assert mine.epochs == theirs.epochs and mine.selected == theirs.selected
        assert all(torch.equal(mine.state[name], theirs.state[name]) for name in mine.state)
        assert not mine.fallbacks


@pytest.mark.parametrize("spec", NAMES)
def test_what_is_declared_is_not_spied_on(spec, monkeypatch):
    def spied(*arguments, **named):
        raise AssertionError("spied on")

    monkeypatch.setattr(vmapped_loss, "_SpiedStep", spied)
    called(mapped(spec, declared=True))
    with pytest.raises(AssertionError, match="spied on"):
        called(mapped(spec, declared=False))


def test_a_false_declaration_is_an_error_wherever_it_is_trained():
    wanted = r"Liar\.loss must not read the epoch, as it declares uses_epoch = False, but reads step\.epoch; declare uses_epoch = True"
    runs = some_runs(Liar)
    for failure in fit_heads(runs, TRAIN, VAL):
        assert isinstance(failure, DefenseError)
        with pytest.raises(DefenseError, match=wanted):
            raise failure
    for run in (runs[0], replace(runs[0], loss=bound(Liar())[0])):
        with pytest.raises(DefenseError, match=wanted):
            alone(run)
    (single,) = fit_heads(runs[:1], TRAIN, VAL)
    assert isinstance(single, DefenseError)


def test_a_false_declaration_that_the_probe_misses_gives_no_wrong_number(monkeypatch):
    """The last batch of an epoch is smaller; neither it nor a recording of it may be trained on."""
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    runs = some_runs(LiesLate)
    assert isinstance(checked(runs), VmappedLoss)
    runs = some_runs(LiesLate, batch_size=8)
    assert all(isinstance(failure, DefenseError) for failure in fit_heads(runs, TRAIN, VAL))


@pytest.mark.parametrize("make", [Undeclared, Declared])
def test_a_true_or_absent_declaration_trains_as_alone(make, monkeypatch):
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    runs = some_runs(make)
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


def test_declarations_are_of_the_code_beside_them():
    class Other(AssumeNegative):
        def loss(self, logits, step):
            return super().loss(logits, step) * step.epoch

    class Same(AssumeNegative):
        """Has no loss of its own."""

    assert AssumeNegative.uses_epoch is False and Same.uses_epoch is False
    assert Other.uses_epoch is None and Other.per_image_state is None


def test_a_step_without_an_epoch_has_the_rest_of_a_step():
    _, labels = bound(defenses.create("an"))
    step = step_of(labels, [0, 3])
    bare = EpochlessStep("x", positives=step.positives, negatives=step.negatives, index=step.index)
    assert torch.equal(bare.hidden, step.hidden) and isinstance(bare, Step)
    for name in ("epoch", "epochs"):
        with pytest.raises(DefenseError, match=f"x.loss must not read.*step.{name};"):
            getattr(bare, name)


# --- fast paths that are given up


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (KeepsPython, "KeepsPython called one by one"),
        (FailsLate, "4 heads trained again"),
        (ReadsAll, "tables of ReadsAll differentiated whole, not by rows"),
        (CountsInPython, "CountsInPython called without a recording"),
    ],
)
def test_each_is_logged_and_kept(make, reason, caplog, monkeypatch):
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    fallbacks._warn.cache_clear()
    with caplog.at_level(logging.WARNING, logger="labelattack"):
        fits = fit_heads(some_runs(make), TRAIN, VAL)
    assert sum(reason in record.message for record in caplog.records) == 1
    for fit in fits:
        assert isinstance(fit, Exception) or reason in " ".join(fit.fallbacks)


@pytest.mark.parametrize("fault", ["missing", "other arguments", "another step"])
def test_the_private_kernel_may_be_gone_or_differ(fault, caplog, monkeypatch):
    def kernel(*arguments):
        if fault == "missing":
            raise AttributeError("module 'torch' has no attribute '_fused_adam_'")
        if fault == "other arguments":
            raise TypeError("_fused_adam_() got an unexpected keyword argument")

    wanted = fit_heads(some_runs(lambda: defenses.create("an")), TRAIN, VAL)
    monkeypatch.setattr(optimizer, "_fused", kernel)
    optimizer.kernel_fault.cache_clear()
    fallbacks._warn.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="labelattack"):
            fits = fit_heads(some_runs(lambda: defenses.create("an")), TRAIN, VAL)
    finally:
        optimizer.kernel_fault.cache_clear()
    for mine, theirs in zip(fits, wanted, strict=True):
        assert all(torch.equal(mine.state[name], theirs.state[name]) for name in mine.state)
        assert "torch.optim.Adam used for heads" in mine.fallbacks[0] and not theirs.fallbacks
    assert sum("torch.optim.Adam used" in record.message for record in caplog.records) == 1


def test_no_handler_of_the_vectorized_trainer_drops_an_exception():
    """Each names the exception and hands it on: to a fallback, to a run, or to the caller."""
    files = [*Path(vectorized.__file__).parent.glob("*.py"), Path(inspect.getfile(optimizer))]
    handlers = 0
    for path in files:
        source = path.read_text(encoding="utf-8")
        assert "suppress(" not in source
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ExceptHandler):
                handlers += 1
                names = [
                    n.id for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)
                ]
                assert node.name and node.name in names, f"{path.name}:{node.lineno}"
    assert handlers >= 6
