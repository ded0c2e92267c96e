import copy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from labelattack import attacks, defenses
from labelattack.defenses.base import PartialLabelLoss, Step, positive_term
from labelattack.labels import PartialLabels, encode
from labelattack.testing.defenses import example_task
from labelattack.training.hardware import free_memory, last_level_cache
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import Fit, epochs, fit, predict
from labelattack.training.optimizer import AdamSettings, adam_step
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import ValidationLabels
from labelattack.training.vectorized import heads, vmapped_loss
from labelattack.training.vectorized.heads import fit_heads
from labelattack.training.vectorized.tracing import recorded
from labelattack.training.vectorized.vectorize import vectorize
from labelattack.training.vectorized.vmapped_loss import VmappedLoss

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 6)).astype(np.float32)
CLEAN = X[:, :4] > 0.4
SCORED = RNG.random((20, 4)) < 0.8
TRAIN, VAL = FeatureInputs(X, CPU), FeatureInputs(X[:20] + 0.1, CPU)


def bound(loss, attack="targeted", seed=0):
    oracle = loss.oracle and not loss.sees_attack
    labels = attacks.create("none" if oracle else attack)(CLEAN, seed=seed)
    loss.bind(
        replace(
            example_task(type(loss), labels, PartialLabels.full(CLEAN), seed=seed),
            expected_positives=1.2,
        )
    )
    return loss, labels


def some_runs(make, batch_size=16, kind="", **recipe):
    """Attacks, seeds and learning rates mixed."""
    runs = []
    for seed, (attack, lr) in enumerate(
        [("targeted", 0.1), ("random", 0.01), ("single-positive", 0.1), ("targeted:rate=0.8", 0.03)]
    ):
        loss, labels = bound(make(), attack, seed)
        torch.manual_seed(seed)
        head = nn.Linear(6, 4)
        runs.append(
            TrainingRun(
                network=head,
                loss=loss,
                kind=kind,
                labels=labels,
                recipe=Recipe(epochs=4, lr=lr, batch_size=batch_size, **recipe),
                seed=seed,
                validation=ValidationLabels(CLEAN[:20], None if seed % 2 else SCORED, "given"),
            )
        )
    return runs


def checked(runs):
    signs = torch.from_numpy(np.stack([encode(run.labels, "signed") for run in runs]))
    return vectorize(
        [r.loss for r in runs], range(len(runs)), signs[:, :16], lambda run: signs[run]
    )


def is_batched(runs):
    return isinstance(checked(runs), VmappedLoss)


def alone(run):
    return fit(
        run.network, run.loss, TRAIN, VAL, run.labels, run.recipe, seed=run.seed, device=CPU,
        validate=run.validate,
    )  # fmt: skip


def assert_equal_fits(one: Fit, other: Fit):
    assert one.selected == other.selected
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, abs=1e-5)
        assert mine.val_map == pytest.approx(theirs.val_map, abs=1e-5)
    head = nn.Linear(6, 4)
    scores = []
    for state in (one.state, other.state):
        head.load_state_dict(state)
        scores.append(predict(head, VAL))
    np.testing.assert_allclose(*scores, atol=1e-5)


@pytest.mark.parametrize("spec", defenses.registry.names())
def test_a_group_trains_each_head_as_it_would_alone(spec):
    runs = some_runs(lambda: defenses.create(spec))
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


@pytest.mark.parametrize("spec", defenses.registry.names())
def test_every_loss_can_be_batched(spec):
    runs = some_runs(lambda: defenses.create(spec))
    assert is_batched(runs)


class Branches(PartialLabelLoss):
    """Looks at a value, which no mapped call can."""

    def loss(self, logits, step):
        value = positive_term(logits).mean()
        return value * (2.0 if value.item() > 0.5 else 1.0)


class KeepsPython(PartialLabelLoss):
    """State that differs from run to run, outside buffers."""

    def bind(self, task):
        self.share = float(task.labels.positives.mean())

    def loss(self, logits, step):
        return positive_term(logits).mean() * self.share


class EndsEpochs(PartialLabelLoss):
    """Aims at the last predictions, written into a buffer, and at their mean, assigned to one."""

    def __init__(self, assigned=True):
        super().__init__()
        self.assigned = assigned

    def bind(self, task):
        self.register_buffer("aims", torch.zeros(task.labels.shape))
        self.register_buffer("mean", torch.zeros(4))

    def loss(self, logits, step):
        aim = self.aims[step.index] + self.mean
        return (logits - aim + step.positives).square().mean()

    def end_epoch(self, logits, step):
        self.aims.mul_(0.5).add_(logits * step.epoch / step.epochs * ~step.negatives)
        mean = logits[step.positives.any(1)].mean(0)
        if self.assigned:
            self.mean = mean
        else:
            self.mean.copy_(mean)


@pytest.mark.parametrize("assigned", [True, False])
def test_epochs_end_in_a_group_as_alone(assigned):
    runs = some_runs(lambda: EndsEpochs(assigned))
    assert is_batched(runs)
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


def test_the_end_of_an_epoch_gets_predictions_in_evaluation_mode():
    seen = []

    class Sees(PartialLabelLoss):
        def loss(self, logits, step):
            return logits.square().mean()

        def end_epoch(self, logits, step):
            seen.append((logits.clone(), step, torch.is_grad_enabled()))

    (run, *_) = some_runs(Sees)
    network = nn.Sequential(nn.Dropout(0.5), run.network)
    fit(
        network, run.loss, TRAIN, VAL, run.labels, run.recipe, seed=0, device=CPU,
        validate=lambda scores: 0.0,
    )  # fmt: skip
    assert [step.epoch for _, step, _ in seen] == [1, 2, 3, 4]
    logits, step, records = seen[-1]
    assert not records
    torch.testing.assert_close(logits, torch.from_numpy(predict(network, TRAIN)))
    assert torch.equal(step.index, torch.arange(70))
    assert torch.equal(step.positives, torch.from_numpy(run.labels.positives.copy()))


class EndsInPython(PartialLabelLoss):
    """Changes an attribute at the end of an epoch, which runs of a group would share."""

    def __init__(self):
        super().__init__()
        self.factor = 1.0

    def loss(self, logits, step):
        return logits.square().mean() * self.factor

    def end_epoch(self, logits, step):
        self.factor = 1.0 + step.epoch


class Fails(PartialLabelLoss):
    def bind(self, task):
        self.fails = task.seed == 2

    def loss(self, logits, step):
        if self.fails and step.epoch > 1:
            raise ValueError("no more")
        return positive_term(logits).mean()


class FailsLate(PartialLabelLoss):
    """Passes the check of a few steps and raises later."""

    def loss(self, logits, step):
        if step.epoch > 3:
            raise ValueError("no more")
        return positive_term(logits).mean()


class Tabled(PartialLabelLoss):
    """Learns a logit for each image and label, and reads it at the batch's images."""

    def bind(self, task):
        self.table = nn.Parameter(torch.from_numpy(task.labels.positives - 0.5).float())

    def read(self, step):
        return self.table[step.index]

    def loss(self, logits, step):
        return (self.read(step).sigmoid() - logits.sigmoid()).square().mean()


class ReadsAll(Tabled):
    """Of its table, reads more than the rows of the batch."""

    def read(self, step):
        return self.table[step.index] - self.table.mean()


class ReadsAllLate(Tabled):
    """Passes the check of a few steps."""

    def read(self, step):
        table = self.table - self.table.mean() if step.epoch > 3 else self.table
        return table[step.index] if step.epoch > 3 else self.table[step.index]


class ReadsByOtherRows(Tabled):
    """The index is the batch's, but not as it was given."""

    def read(self, step):
        return self.table[step.index.flip(0)] + self.table[step.index + 0]


class Tempered(PartialLabelLoss):
    """Learns one number, which has nothing to do with images."""

    def bind(self, task):
        self.temperature = nn.Parameter(torch.tensor(1.0 + task.seed))

    def loss(self, logits, step):
        return positive_term(logits / self.temperature).mean() + self.temperature.square()


class Counts(PartialLabelLoss):
    """Keeps a buffer and cannot be mapped: it looks at a value."""

    def bind(self, task):
        self.register_buffer("seen", torch.zeros(len(task.labels.positives)))

    def loss(self, logits, step):
        self.seen[step.index] += 1
        scale = 2.0 if logits.sum().item() > 0 else 1.0
        return (positive_term(logits).mean(dim=1) * self.seen[step.index]).mean() * scale


@pytest.mark.parametrize(
    ("make", "by_rows"),
    [
        (lambda: defenses.create("role"), True),
        (Tabled, True),
        (ReadsAllLate, True),
        (ReadsAll, False),
        (ReadsByOtherRows, False),
        (Tempered, False),
    ],
)
def test_what_a_loss_learns_is_learned_as_it_would_be_alone(make, by_rows):
    """A step goes through the rows of a table that were read, if no other is ever read."""
    runs = some_runs(make)
    assert checked(runs).by_rows == by_rows
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


def test_a_loss_that_learns_nothing_may_have_a_rate_of_its_own():
    class Scaled(PartialLabelLoss):
        """Asks for a learning rate, for nothing."""

        lr_scale = 3.0

        def loss(self, logits, step):
            return logits.square().mean()

    runs = some_runs(Scaled)
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert not isinstance(mine, Exception) and not mine.fallbacks
        assert_equal_fits(mine, theirs)


@pytest.mark.parametrize("make", [lambda: defenses.create("an"), lambda: defenses.create("role")])
def test_weight_decay_is_of_the_head_and_not_of_what_a_loss_learns(make):
    """One group trains heads with and without it, each as torch's Adam would alone."""
    runs = some_runs(make, weight_decay=0.3) + some_runs(make)
    singles = [alone(copy.deepcopy(run)) for run in runs]
    found = fit_heads(runs, TRAIN, VAL)
    for mine, theirs in zip(found, singles, strict=True):
        assert_equal_fits(mine, theirs)
    assert all(
        a.state["weight"].norm() < 0.9 * b.state["weight"].norm()
        for a, b in zip(found[:4], found[4:], strict=True)
    )
    run, by_hand = some_runs(make, weight_decay=0.3)[0], some_runs(make)[0]
    alone(run)
    optimizer = torch.optim.Adam(
        [{"params": by_hand.network.parameters(), "lr": 0.1, "weight_decay": 0.3},
         {"params": by_hand.loss.parameters(), "lr": 0.1 * by_hand.loss.lr_scale}]
    )  # fmt: skip
    for _ in epochs(by_hand.network, by_hand.loss, optimizer, TRAIN, by_hand.labels, by_hand.recipe,
                    seed=0, device=CPU):  # fmt: skip
        pass
    for mine, its in zip(run.loss.parameters(), by_hand.loss.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(run.network.weight, by_hand.network.weight, atol=1e-5, rtol=1e-4)


def test_a_group_that_starts_again_does_so_from_the_start():
    """One kind's late failure makes all be called apart; what others kept must not stay."""
    runs = [*some_runs(Counts, kind="counts"), *some_runs(FailsLate, kind="fails")]
    singles = [alone(copy.deepcopy(run)) for run in runs[:4]]
    found = fit_heads(runs, TRAIN, VAL)
    assert [str(failure) for failure in found[4:]] == ["no more"] * 4
    for mine, theirs in zip(found, singles, strict=False):
        assert_equal_fits(mine, theirs)


def test_steps_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    rates = {AdamSettings(0.1): [(3, 4), (5,)], AdamSettings(0.01, weight_decay=0.1): [(2, 3)]}
    ours = {
        lr: [torch.randn(shape, generator=generator) for shape in shapes]
        for lr, shapes in rates.items()
    }
    theirs = copy.deepcopy(ours)
    optimizer = torch.optim.Adam(
        [{"params": of, **asdict(settings)} for settings, of in theirs.items()], fused=True
    )
    step = adam_step(ours)
    for _ in range(20):
        for lr in rates:
            for mine, its in zip(ours[lr], theirs[lr], strict=True):
                mine.grad = its.grad = torch.randn(mine.shape, generator=generator)
        step()
        optimizer.step()
    for lr in rates:
        for mine, its in zip(ours[lr], theirs[lr], strict=True):
            assert torch.equal(mine, its)


class Warms(PartialLabelLoss):
    """Reads the epoch."""

    def loss(self, logits, step):
        return positive_term(logits).mean() * step.epoch / step.epochs


class CountsInPython(PartialLabelLoss):
    """State that changes from call to call, outside buffers: a recording would freeze it."""

    calls = 0

    def loss(self, logits, step):
        self.calls += 1
        return positive_term(logits).mean() * (1.0 + 0.01 * self.calls)


@pytest.fixture
def recordings(monkeypatch):
    """Everything is worth recording; what came of it."""
    made = []

    def noted(*arguments):
        play = recorded(*arguments)
        made.append(play is not None)
        return play

    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    monkeypatch.setattr(vmapped_loss, "recorded", noted)
    return made


@pytest.mark.parametrize("spec", defenses.registry.names())
def test_every_loss_can_be_recorded(spec, recordings):
    runs = some_runs(lambda: defenses.create(spec))
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)
    # Once, or, where it reads the epoch, once in each.
    assert recordings in ([True], [True] * 4)


@pytest.mark.parametrize(
    ("make", "made"), [(Warms, [True] * 4), (CountsInPython, [False]), (Tempered, [True])]
)
def test_what_a_recording_would_freeze_is_recorded_anew_or_not_at_all(make, made, recordings):
    """A loss that counts its calls counts the group's, which are as many as each run's alone."""
    runs = some_runs(make)
    batched = VmappedLoss([run.loss for run in copy.deepcopy(runs)], range(4), calls=5)
    batched.learned(range(4))
    signs = torch.from_numpy(np.stack([encode(run.labels, "signed") for run in runs]))
    for epoch in range(1, 5):
        for rows in torch.split(torch.randperm(70, generator=torch.manual_seed(epoch)), 16):
            logits = torch.randn(4, len(rows), 4)
            known = signs[:, rows]
            parts = {"positives": known > 0, "negatives": known < 0}
            step = Step(**parts, index=rows.repeat(4, 1), epoch=epoch, epochs=4)
            values, _ = batched(logits, step, {})
            for place, run in enumerate(runs):
                alone = Step(
                    **{name: part[place] for name, part in parts.items()},
                    index=rows, epoch=epoch, epochs=4,
                )  # fmt: skip
                wanted = run.loss(logits[place], alone)
                assert values[place] == pytest.approx(float(wanted.detach()), abs=1e-6)
    assert recordings == made


def test_only_what_gives_the_same_again_is_recorded():
    calls = []

    def counts(tensor):
        calls.append(1)
        return [tensor * len(calls)]

    reasons = []
    assert recorded(counts, [torch.ones(3)], nn.Linear(1, 1), reasons.append) is None
    assert [str(reason) for reason in reasons] == ["played again it gives other values"]
    double = recorded(
        lambda tensor: [tensor * 2, tensor.add_(1)],
        [torch.ones(3)],
        nn.Linear(1, 1),
        reasons.append,
    )
    given = torch.arange(3.0)
    assert double is not None and torch.equal(double(given)[0], torch.tensor([0.0, 2.0, 4.0]))
    assert torch.equal(given, torch.tensor([1.0, 2.0, 3.0]))


def test_a_loss_that_fails_late_fails_its_runs_and_nothing_else():
    runs = some_runs(FailsLate)
    assert is_batched(runs)
    found = fit_heads(runs, TRAIN, VAL)
    assert [str(failure) for failure in found] == ["no more"] * len(runs)


@pytest.mark.parametrize("make", [Branches, KeepsPython, EndsInPython])
def test_losses_that_cannot_be_batched_are_called_apart(make):
    runs = some_runs(make)
    if make is not Branches:
        assert not is_batched(runs)
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


def test_one_failure_leaves_the_others_alone():
    found = fit_heads(some_runs(Fails), TRAIN, VAL)
    assert isinstance(found[2], ValueError)
    assert all(isinstance(found[row], Fit) for row in (0, 1, 3))
    runs = some_runs(lambda: defenses.create("an"))
    runs[1].network.weight.data.fill_(float("nan"))
    diverged = fit_heads(runs, TRAIN, VAL)
    assert "must be finite" in str(diverged[1])
    assert_equal_fits(diverged[0], alone(some_runs(lambda: defenses.create("an"))[0]))


def test_a_group_mixes_losses_attacks_recipes_and_seeds():
    """Heads of one seed share products, and one kind's call reaches over seeds."""
    runs = []
    for spec in (*defenses.registry.names(), "wan:weight=0.5"):
        some = some_runs(lambda spec=spec: defenses.create(spec), kind=spec)
        runs += [replace(run, seed=run.seed % 2) for run in some]
    runs = [runs[row] for row in np.random.default_rng(1).permutation(len(runs))]
    singles = [alone(copy.deepcopy(run)) for run in runs]
    for mine, theirs in zip(fit_heads(runs, TRAIN, VAL), singles, strict=True):
        assert_equal_fits(mine, theirs)


def test_as_many_heads_as_the_cache_holds_and_memory_allows(monkeypatch):
    def at_once(
        images, labels, channels, *, cache=32 << 20, memory=8 << 30, processes=1, device=CPU
    ):
        monkeypatch.setattr(heads, "last_level_cache", lambda: cache)
        monkeypatch.setattr(heads, "free_memory", lambda device: memory)
        return heads.heads_at_once(images, labels, channels, device=device, processes=processes)

    assert at_once(4_006, 20, 1_280) == (16 << 20) // (4 * 4 * 1_281 * 20)
    assert at_once(4_006, 20, 1_280, processes=2) == at_once(4_006, 20, 1_280)
    assert at_once(4_006, 20, 1_280, processes=4) == at_once(4_006, 20, 1_280, cache=16 << 20)
    assert at_once(4_006, 20, 1_280, cache=0) == 8
    # NUS-WIDE on ResNet-50: eight heads whose loss learn a table of labels take 2.5 GB.
    assert at_once(161_789, 81, 2_048, memory=2 << 30) == 3
    assert at_once(161_789, 81, 2_048, memory=0) == 1
    # Caches do not matter elsewhere; half of the memory is for features and labels.
    gpu = torch.device("cuda")
    assert at_once(4_006, 20, 1_280, cache=0, memory=80 << 30, device=gpu) == 1_024
    assert at_once(82_081, 80, 2_048, memory=80 << 30, device=gpu) == 268


def test_the_largest_cache_is_read_where_linux_tells(tmp_path):
    assert last_level_cache(tmp_path) == 16 << 20
    for number, size in enumerate(("32K", "1024K", "33M", "512K")):
        path = tmp_path / "cpu0" / "cache" / f"index{number}" / "size"
        path.parent.mkdir(parents=True)
        path.write_text(size + "\n")
    assert last_level_cache(tmp_path) == 33 << 20
    assert free_memory(CPU) > 1 << 20
