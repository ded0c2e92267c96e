"""Criteria in loops of others: a plain one, Lightning, Hugging Face, several processes."""

import os
import runpy
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from labelattack import Criterion
from labelattack.errors import DefenseError

EPOCHS, LR = 3, 1e-2


@pytest.fixture
def examples(pytestconfig):
    return pytestconfig.rootpath / "examples"


def test_a_plain_loop(examples, capsys):
    run = runpy.run_path(str(examples / "own_loop.py"))
    chosen, hidden = run["criterion"].loss.soft >= 0, run["labels"] < 0
    assert (chosen & ~hidden).sum() == 0 and chosen.sum() > 0.8 * hidden.sum()
    assert torch.isfinite(run["loss"]) and "soft labels" in capsys.readouterr().out


def test_the_trainer_of_hugging_face(examples, capsys):
    pytest.importorskip("transformers")
    run = runpy.run_path(str(examples / "hf_trainer.py"), run_name="__main__")
    assert run["moved"] > 1 and "moved by" in capsys.readouterr().out


def test_two_processes_equal_one_and_each_other(examples, tmp_path):
    """State is equal across ranks, and that of one process with batches of both."""
    out = tmp_path / "state.pt"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
        str(examples / "ddp_loop.py"), str(out),
    ]  # fmt: skip
    run = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "tables of 2 processes are equal: True" in run.stdout, run.stderr[-2000:]
    state = torch.load(out)
    wanted = in_one_process(runpy.run_path(str(examples / "ddp_loop.py")))
    assert state.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def in_one_process(example):
    torch.manual_seed(0)
    inputs = torch.randn(200, 10)
    labels = torch.where(inputs @ torch.randn(10, 5) > 1, 1, -1)
    samplers = [DistributedSampler(range(200), 2, rank) for rank in (0, 1)]
    network = nn.Linear(10, 5)
    criterion = Criterion("role", labels=labels, expected_positives=1.0)
    groups = [{"params": network.parameters()}, *criterion.parameter_groups(1e-2)]
    optimizer = torch.optim.Adam(groups, lr=1e-2)
    for epoch in range(1, example["EPOCHS"] + 1):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        parts = [torch.tensor(list(sampler)).split(example["BATCH"]) for sampler in samplers]
        for pair in zip(*parts, strict=True):
            rows = torch.cat(pair)
            optimizer.zero_grad()
            criterion(network(inputs[rows]), labels[rows], rows).backward()
            optimizer.step()
    return {**network.state_dict(), **criterion.state_dict()}


@pytest.fixture
def lightning(examples, monkeypatch):
    pytest.importorskip("lightning")
    monkeypatch.syspath_prepend(str(examples))
    import lightning_module

    return lightning_module


def fit(module, model, predict=None, ckpt=None, folder=None, epochs=EPOCHS, callbacks=None):
    import lightning

    from labelattack.interop.lightning import CriterionCallback

    x, y = module.made_up_data()
    data = DataLoader(TensorDataset(x, y, torch.arange(len(x))), 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_checkpointing=folder is not None, default_root_dir=folder,
            enable_model_summary=False,
            callbacks=[CriterionCallback(predict)] if callbacks is None else callbacks,
        )  # fmt: skip
        trainer.fit(model, data, ckpt_path=ckpt)
    return trainer


def role(module, **named):
    torch.manual_seed(1)
    return module.Classifier(
        labels=module.made_up_data()[1], expected_positives=1.0, lr=LR, **named
    )


def by_hand(module, epochs=EPOCHS):
    """Table and network of a plain loop with Adam, the table at ten times the learning rate."""
    x, y = module.made_up_data()
    model = role(module)
    network, criterion = model.network, model.criterion
    optimizer = torch.optim.Adam(
        [
            {"params": network.parameters(), "lr": LR},
            {"params": criterion.parameters(), "lr": 10 * LR},
        ]
    )
    for _ in range(epochs):
        for rows in torch.arange(200).split(50):
            optimizer.zero_grad()
            criterion(network(x[rows]), y[rows], rows).backward()
            optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("given", ["all", "network alone"])
def test_lightning_learns_a_table_with_its_learning_rate(lightning, given):
    model = role(lightning)
    if given == "network alone":
        model.configure_optimizers = lambda: torch.optim.Adam(model.network.parameters(), LR)
    fit(lightning, model)
    for name, tensor in by_hand(lightning).items():
        torch.testing.assert_close(model.state_dict()[name], tensor, msg=name)


def test_without_the_callback_a_table_bound_late_is_no_silent_constant(lightning):
    model = lightning.Classifier(expected_positives=1.0)
    model.on_fit_start = lambda: model.criterion.bind(lightning.made_up_data()[1])
    model.configure_optimizers = lambda: torch.optim.Adam(model.network.parameters(), LR)
    with pytest.raises(DefenseError, match="must be in an optimiser"):
        fit(lightning, model, callbacks=[])
    late = lightning.Classifier(expected_positives=1.0)
    late.on_fit_start = model.on_fit_start
    with pytest.raises(DefenseError, match="training labels must be given to defense 'role'"):
        fit(lightning, late)


def test_a_schedule_needs_the_group_before(lightning):
    def configured(model, groups):
        optimizer = torch.optim.Adam(groups, LR)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)]

    model = role(lightning)
    model.configure_optimizers = lambda: configured(model, model.network.parameters())
    with pytest.raises(DefenseError, match=r"\*criterion.parameter_groups"):
        fit(lightning, model)
    model = role(lightning)
    model.configure_optimizers = lambda: configured(
        model, [{"params": model.network.parameters()}, *model.criterion.parameter_groups(LR)]
    )
    trainer = fit(lightning, model)
    assert [g["lr"] for g in trainer.optimizers[0].param_groups] == pytest.approx(
        [LR / 2**EPOCHS, 10 * LR / 2**EPOCHS]
    )


def test_lightning_resumes_and_loads_without_data(lightning, tmp_path):
    model = role(lightning)
    trainer = fit(lightning, model, folder=tmp_path, epochs=2)
    path = trainer.checkpoint_callback.best_model_path
    resumed = role(lightning)
    fit(lightning, resumed, ckpt=path)
    for name, tensor in by_hand(lightning).items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, msg=name)
    loaded = lightning.Classifier.load_from_checkpoint(path, expected_positives=1.0)
    assert torch.equal(loaded.criterion.loss.estimates, model.criterion.loss.estimates)


def test_lightning_tells_epochs_and_ends_them(lightning):
    x, y = lightning.made_up_data()
    model = lightning.Classifier(labels=y, loss="em-apl:warmup=1")
    told = []
    original = model.criterion.set_epoch
    model.criterion.set_epoch = lambda *epoch: (told.append(epoch), original(*epoch))
    fit(lightning, model, predict=lambda module: module.network(x))
    assert told == [(1, 3), (2, 3), (3, 3)] and (model.criterion.loss.soft >= 0).any()
    with pytest.raises(DefenseError, match="CriterionCallback"):
        fit(lightning, lightning.Classifier(labels=y, loss="em-apl:warmup=1"))
