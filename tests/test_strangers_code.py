"""Plug-ins, constructors and losses of other people: wrong ones say so, in one clear line."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from labelattack import attacks, defenses
from labelattack.attacks.targeted import TargetedAttack
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.base import Split
from labelattack.datasets.table import Table
from labelattack.defenses.an import SmoothedAssumeNegative
from labelattack.defenses.base import PartialLabelLoss, Step, Task
from labelattack.defenses.bce import SmoothedBinaryCrossEntropy
from labelattack.defenses.pseudo_history import PseudoHistory
from labelattack.errors import DatasetError, DefenseError, ParameterError, PluginError
from labelattack.labels import PartialLabels
from labelattack.models.tiny import Tiny
from labelattack.registry.plugins import load_plugin
from labelattack.training import optimizer
from labelattack.training.inputs import FeatureInputs
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import ValidationLabels
from labelattack.training.vectorized.heads import fit_heads
from tests.test_before_training import SMALL_DIGITS, grid_of

pytestmark = pytest.mark.usefixtures("forgotten")
LOSS = """
from labelattack import PartialLabelLoss, defenses
@defenses.register("{name}")
class {cls}(PartialLabelLoss):
    def loss(self, logits, step):
        return logits.mean() * {weight}
"""


def plugin(folder, source, name="plug.py"):
    (folder / name).write_text(source, encoding="utf-8")
    return folder / name


# --- plug-ins


def test_two_files_cannot_register_one_name(tmp_path):
    first = plugin(tmp_path, LOSS.format(name="mine", cls="Mine", weight=1), "first.py")
    second = plugin(tmp_path, LOSS.format(name="mine", cls="Mine", weight=2), "second.py")
    load_plugin(first)
    load_plugin(first)  # a file named twice is one file
    with pytest.raises(PluginError, match=r"'mine' is registered already.*first\.py.*second\.py"):
        load_plugin(second)
    assert defenses.registry.get("mine").loss(None, torch.ones(1), None) == 1


def test_one_file_cannot_register_a_name_twice(tmp_path):
    twice = LOSS.format(name="mine", cls="Mine", weight=1) * 2
    with pytest.raises(PluginError, match="'mine' is registered already in the same file"):
        load_plugin(plugin(tmp_path, twice))


def test_an_attack_and_a_loss_may_share_a_name(tmp_path):
    attack = (
        "from labelattack import LabelAttack, attacks\n"
        "@attacks.register('mine')\nclass Attack(LabelAttack):\n"
        "    def observe(self, labels, rng): return labels\n"
    )
    load_plugin(plugin(tmp_path, attack + LOSS.format(name="mine", cls="Mine", weight=1)))
    assert "mine" in attacks.registry.names() and "mine" in defenses.registry.names()


def test_a_cell_of_a_notebook_may_be_run_again():
    for weight in (1, 2):
        exec(LOSS.format(name="mine", cls="Mine", weight=weight), {"__name__": "__main__"})
    assert defenses.registry.get("mine").loss(None, torch.ones(1), None) == 2


@pytest.mark.parametrize("line", ["import sys; sys.exit(0)", "exit()", "raise SystemExit", "import argparse; argparse.ArgumentParser().parse_args(['-h'])"])  # fmt: skip
def test_a_plugin_that_ends_the_program_is_told(tmp_path, told, line):
    plugin(tmp_path, line)
    code, _, err = told("bench", "--plugin", "plug.py", "--dry-run")
    assert code == 2 and "plug.py" in err and "ended the program" in err


@pytest.mark.parametrize(
    ("line", "name"),
    [("torch.set_default_dtype(torch.float64)", "default dtype"), ("torch.set_default_device('meta')", "default device"),
     ("torch.set_grad_enabled(False)", "gradient mode")],
)  # fmt: skip
def test_a_plugin_must_leave_torchs_defaults_alone(tmp_path, line, name):
    with pytest.raises(PluginError, match=f"plug.py.*{name}"):
        load_plugin(plugin(tmp_path, f"import torch\n{line}\n"))
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.get_default_device().type == "cpu"


class EndsTheProgram(PartialLabelLoss):
    def loss(self, logits, step):
        sys.exit(0)


class SetsTheDtype(PartialLabelLoss):
    def bind(self, task):
        torch.set_default_dtype(torch.float64)

    def loss(self, logits, step):
        return logits.mean()


class SetsTheDtypeLater(PartialLabelLoss):
    def loss(self, logits, step):
        torch.set_default_dtype(torch.float64)
        return logits.mean()


def test_a_loss_that_changes_torchs_defaults_is_refused_before_anything_trains(tmp_path):
    defenses.register("breaks")(SetsTheDtype)
    store = RecordStore(tmp_path / "store")
    with pytest.raises(PluginError, match="defense 'breaks' .*default dtype"):
        run_grid(grid_of(SMALL_DIGITS, defenses=("breaks", "an")), store)
    assert not list(store) and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
@pytest.mark.parametrize(
    ("cls", "reason"),
    [(EndsTheProgram, "must not end the program"), (SetsTheDtypeLater, "default dtype")],
)
def test_code_that_breaks_the_process_fails_its_own_cells(tmp_path, cls, reason, protocol):
    defenses.register("breaks")(cls)
    store = RecordStore(tmp_path / "store")
    run_grid(grid_of(SMALL_DIGITS, protocol, defenses=("breaks", "an")), store)
    found = {record.cell.defense: record for record in store}
    assert found["an"].status == "done"
    assert reason in found["breaks"].reason
    assert torch.get_default_dtype() == torch.float32


# --- constructors


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (TargetedAttack, {"rate": 4}, "'rate' of attack 'targeted' must be .*1, got 4"),
        (TargetedAttack, {"scope": "both"}, "'scope' of attack 'targeted' must be"),
        (TargetedAttack, {"rte": 0.4}, "did you mean 'rate'"),
        (SmoothedAssumeNegative, {"smoothing": 7}, "'smoothing' of defense 'an-ls' must be"),
        (SmoothedBinaryCrossEntropy, {"smoothing": -1}, "'smoothing' of defense 'bce-ls' must be"),
        (PseudoHistory, {"alpha": float("nan")}, "'alpha' of defense 'pseudo-history' must be"),
        (Tiny, {"prior": 0}, "'prior' of model 'tiny' must be"),
        (Table, {"labels": "a.csv"}, "dataset 'table' needs parameter 'images'"),
    ],
)  # fmt: skip
def test_constructors_have_the_rules_of_specs(cls, values, message):
    with pytest.raises(ParameterError, match=message):
        cls(**values)


def test_constructors_take_what_specs_take():
    assert TargetedAttack(rate="0.25").rate == 0.25
    assert attacks.create("targeted:rate=0.25") == TargetedAttack(rate=0.25)
    assert SmoothedBinaryCrossEntropy(smoothing=0.2).smoothing == 0.2


def test_pixels_alone_are_no_images():
    with pytest.raises(DatasetError, match=r"ArrayImages\(pixels\).*got a ndarray"):
        Split(np.zeros((2, 4, 4), np.uint8), np.ones((2, 1), bool), ["a", "b"])


# --- losses

LABELS = PartialLabels(np.eye(4, dtype=bool), np.eye(4, dtype=bool))


def step_of(labels=LABELS):
    return Step(
        positives=torch.from_numpy(labels.positives.copy()),
        negatives=torch.from_numpy(labels.negatives.copy()),
        index=torch.arange(4),
    )


@pytest.mark.parametrize(
    "spec", ["role:expected_positives=1", "epr:expected_positives=1", "pseudo-history"]
)
def test_a_loss_with_state_asks_to_be_bound(spec):
    loss, logits = defenses.create(spec), torch.zeros(4, 4, requires_grad=True)
    with pytest.raises(DefenseError, match="must be bound to a task"):
        loss(logits, step_of())
    loss.bind(Task(labels=LABELS))
    assert loss(logits, step_of()).isfinite()


def loss_of(function):
    class Given(PartialLabelLoss):
        def loss(self, logits, step):
            return function(logits)

    return Given()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: 0.5, "must return a tensor, got a float"),
        (lambda z: None, "must return a tensor, got a NoneType"),
        (lambda z: z.mean().item(), "must return a tensor, got a float"),
        (lambda z: np.float32(1), "must return a tensor, got a float32"),
        (lambda z: z.detach().mean(), "can be differentiated"),
        (lambda z: torch.tensor(1.0), "can be differentiated"),
        (lambda z: z, r"must return a scalar, got shape \(4, 4\)"),
    ],
)
def test_a_loss_must_return_a_scalar_that_can_be_differentiated(function, message):
    with pytest.raises(DefenseError, match=f"Given.loss .*{message}"):
        loss_of(function)(torch.zeros(4, 4, requires_grad=True), step_of())
    with torch.no_grad():
        assert loss_of(lambda z: z.mean())(torch.zeros(4, 4), step_of()) == 0


# --- fast paths that are left


class ReadsANumber(PartialLabelLoss):
    """Cannot be mapped: it asks a tensor for its number."""

    def loss(self, logits, step):
        return logits.mean() if float(logits.detach().mean()) < 9 else logits.sum()


class RaisesLater(PartialLabelLoss):
    """Passes the check on the first images and fails in training, once, if mapped."""

    def loss(self, logits, step):
        if len(logits) == 8 and "Batched" in repr(type(torch.empty_like(logits))) + repr(logits):
            raise ValueError("only mapped")
        return logits.mean()


def head_runs(make):
    labels = PartialLabels.full(np.random.default_rng(0).random((40, 4)) < 0.5)
    runs = []
    for seed in range(3):
        torch.manual_seed(seed)
        loss = make()
        loss.bind(Task(labels=labels))
        runs.append(
            TrainingRun(
                network=nn.Linear(6, 4), loss=loss, kind="k", labels=labels, seed=seed,
                recipe=Recipe(epochs=1, lr=1e-3, batch_size=8),
                validation=ValidationLabels(labels.values, None, "given labels"),
            )
        )  # fmt: skip
    features = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    inputs = FeatureInputs(features, torch.device("cpu"))
    return runs, inputs


@pytest.mark.parametrize(
    ("make", "reason"), [(ReadsANumber, "called one by one"), (RaisesLater, "only mapped")]
)
def test_a_fast_path_that_is_left_is_told_once_and_kept(make, reason, caplog):
    from labelattack.training import fallbacks

    fallbacks._warn.cache_clear()
    for _ in range(2):
        runs, inputs = head_runs(make)
        with caplog.at_level(logging.WARNING, logger="labelattack"):
            fits = fit_heads(runs, inputs, inputs)
        assert all(reason in " ".join(fit.fallbacks) for fit in fits)
    assert sum(reason in record.message for record in caplog.records) == 1


def test_the_reason_is_in_the_record(tmp_path):
    defenses.register("reads-a-number")(ReadsANumber)
    store = RecordStore(tmp_path / "store")
    run_grid(grid_of(SMALL_DIGITS, "linear", defenses=("reads-a-number",), seeds=(0, 1)), store)
    for record in store:
        assert record.status == "done" and "one by one" in " ".join(record.fallbacks)


class WithoutKernel:
    """A release of torch that names the kernel otherwise."""

    def __getattr__(self, name):
        if name == "_fused_adam_":
            raise AttributeError(name)
        return getattr(torch, name)


def stepped(make_step):
    tensor = torch.linspace(-1, 1, 5)
    step = make_step({optimizer.AdamSettings(0.1): [tensor]})
    for _ in range(3):
        tensor.grad = tensor.clone()
        step()
    return tensor


def test_heads_train_without_the_private_kernel(monkeypatch):
    wanted = stepped(optimizer.adam_step)
    monkeypatch.setattr(optimizer, "torch", WithoutKernel())
    optimizer.kernel_fault.cache_clear()
    assert torch.equal(stepped(optimizer.adam_step), wanted)
    optimizer.kernel_fault.cache_clear()


def test_corrupted_images_made_before_are_those_that_are_measured():
    from labelattack.benchmark.execution.context import setup_of
    from labelattack.measures._corruption import corrupted_inputs
    from labelattack.measures.corruption import CorruptionSettings
    from labelattack.training.compute import Compute

    def inputs(compute):
        setup = setup_of(SMALL_DIGITS, "tiny", "finetune", compute)
        return corrupted_inputs(setup, CorruptionSettings(images=10))

    warmed = inputs(Compute(jobs=1, progress=lambda what, done, total: None))
    assert inputs(Compute()) is warmed


# --- several processes

PROCESSES = """
{component}
from labelattack.seeding import stream_seed
from labelattack.training.workers import worker_pool
with worker_pool(2, ()) as workers:
    print(workers.submit(stream_seed, 7).result())
"""
COMPONENT = """
from labelattack import LabelAttack, attacks
@attacks.register("mine")
class Mine(LabelAttack):
    def observe(self, labels, rng): return labels
"""


def run_script(tmp_path, source, *, on_input=False):
    path = plugin(tmp_path, source, "script.py")
    arguments = [] if on_input else [str(path)]
    return subprocess.run(
        [sys.executable, *arguments], input=source if on_input else "", cwd=tmp_path,
        capture_output=True, text=True, encoding="utf-8", timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("on_input", [False, True])
def test_a_script_without_a_guard_may_use_processes(tmp_path, on_input):
    from labelattack.seeding import stream_seed

    done = run_script(tmp_path, PROCESSES.format(component=""), on_input=on_input)
    assert done.stdout.split() == [str(stream_seed(7))], done.stderr


@pytest.mark.parametrize(("on_input", "what"), [(False, "__name__ == '__main__'"), (True, "must be in a plug-in file")])  # fmt: skip
def test_a_component_of_the_main_script_is_refused_at_once(tmp_path, on_input, what):
    done = run_script(tmp_path, PROCESSES.format(component=COMPONENT), on_input=on_input)
    last = done.stderr.splitlines()[-1]
    assert done.returncode and what in last and "attack 'mine'" in last and "memory" not in last


def test_no_loss_is_shown_a_hidden_label_before_it_trains(tmp_path):
    seen = []

    class Looks(PartialLabelLoss):
        def bind(self, task):
            seen.append(task.labels)

        def loss(self, logits, step):
            return logits.mean()

    defenses.register("looks")(Looks)
    cells = grid_of(SMALL_DIGITS, "linear", attacks=("single-positive",), defenses=("looks",))
    run_grid(cells, RecordStore(tmp_path / "store"))
    assert len(seen) > 1 and all((labels.positives.sum(axis=1) <= 1).all() for labels in seen)
    assert not any(labels.negatives.any() for labels in seen)
