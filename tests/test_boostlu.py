"""BoostLU: the head that it needs, the protocols that train it, and its way through a benchmark."""

import json
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from labelattack import defenses
from labelattack.benchmark.boards.keys import board_key_of
from labelattack.benchmark.execution.grouping import groups
from labelattack.benchmark.execution.score import network_of_file
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.errors import ParameterError, StoreError
from labelattack.models import registry as models
from labelattack.models.activation_head import ActivationHead, ActivationNetwork
from labelattack.models.base import pool
from labelattack.registry.plugins import load_plugin
from labelattack.training import protocols
from labelattack.training.compute import ONE_CPU
from labelattack.training.feature_cache import MapReadout, features
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import predict
from labelattack.training.protocols import asked_protocol
from tests.conftest import SMALL_DIGITS, exit_code

HEAD_ONLY = '''
from dataclasses import dataclass
from labelattack.training.protocols import register
from labelattack.training.protocols.finetune import Finetune

@register("head-only")
@dataclass(frozen=True, kw_only=True)
class HeadOnly(Finetune):
    """Trains the head alone, from images."""

    def build(self, model, labels, *, seed):
        network = model.build(labels, seed=seed)
        network.backbone.requires_grad_(False)
        return network
'''


def head(channels=3, labels=2, bias=0.0):
    torch.manual_seed(4)
    made = nn.Linear(channels, labels)
    nn.init.constant_(made.bias, bias)
    return made


def maps(images=5, channels=3, height=2, width=4):
    values = np.random.default_rng(2).normal(0, 2, (images, channels, height, width))
    return torch.tensor(values, dtype=torch.float32)


def boosted(head, x, scale):
    """Mean over locations of w x + b, positive ones times the factor, one after the other."""
    w, b, logits = head.weight.tolist(), head.bias.tolist(), []
    for image in x.tolist():
        row = []
        for weights, bias in zip(w, b, strict=True):
            total, places = 0.0, 0
            for i in range(len(image[0])):
                for j in range(len(image[0][0])):
                    a = bias + sum(v * image[c][i][j] for c, v in enumerate(weights))
                    total += scale * a if a > 0 else a
                    places += 1
            row.append(total / places)
        logits.append(row)
    return torch.tensor(logits)


@pytest.mark.parametrize("scale", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("bias", [-1.0, 0.7])
def test_the_head_is_what_its_formula_says(scale, bias):
    linear, x = head(bias=bias), maps()
    found = ActivationHead(linear, scale)(x)
    torch.testing.assert_close(found, boosted(linear, x, scale))
    pooled = linear(pool(x))
    assert torch.allclose(found, pooled, atol=1e-5) == (scale == 1)


def test_a_gradient_at_a_positive_activation_is_multiplied():
    linear = head(channels=1, labels=2, bias=0.0)
    nn.init.ones_(linear.weight)
    made = ActivationHead(linear, 5.0)
    x = torch.tensor([[[[3.0, -1.0]]]])
    made(x).sum().backward()
    assert made.weight.grad.flatten().tolist() == [(5 * 3.0 - 1.0) / 2] * 2
    assert made.bias.grad.tolist() == [(5 + 1) / 2] * 2


def test_weights_tell_the_factor():
    protocol, model = protocols.create("linear-boosted:scale=3"), models.create("tiny")
    state = protocol.build(model, 10, seed=1).state_dict()
    assert state["scale"] == 3 and set(state) == {"weight", "bias", "scale"}
    plain = protocols.create("linear").build(model, 10, seed=1).state_dict()
    assert torch.equal(state["weight"], plain["weight"])
    # A file of weights does not say its protocol's parameters.
    rebuilt = protocols.create("linear-boosted").rebuild(model, 10, state)
    x = maps(channels=64)
    torch.testing.assert_close(rebuilt(x), protocol.build(model, 10, seed=1)(x))


def test_one_trains_as_the_pooled_head_does_with_factor_one():
    splits, model = datasets.create(SMALL_DIGITS).load(), models.create("tiny")
    scores = []
    for name in ("linear", "linear-boosted:scale=1"):
        protocol = protocols.create(name)
        ready = protocol.prepare(splits, models.resolve("tiny"), ONE_CPU)
        scores.append(predict(protocol.build(model, 10, seed=1), ready.test))
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


def test_maps_are_read_from_their_file_batch_by_batch():
    split = datasets.create(SMALL_DIGITS).load().test
    found = features(split, models.resolve("tiny"), readout=MapReadout())["map"]
    assert isinstance(found, np.memmap) and found.shape[:2] == (40, 64)
    ready = protocols.create("linear-boosted").prepare(
        datasets.create(SMALL_DIGITS).load(), models.resolve("tiny"), ONE_CPU
    )
    assert (ready.test.features.numpy() == found).all()
    elsewhere = FeatureInputs(found, torch.device("meta"), resident=False)
    assert elsewhere.features.device.type == "cpu"
    assert [b.device.type for b in elsewhere.stream([np.array([2, 3]), np.array([5, 1])])] == [
        "meta", "meta",
    ]  # fmt: skip


def test_a_disk_without_room_for_maps_is_told_before_they_are_written(monkeypatch):
    split, model = datasets.create(SMALL_DIGITS).load().test, models.resolve("tiny")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, 1000))
    with pytest.raises(StoreError, match=r"must have room for features of 0\.\d GB, got 0\.0"):
        features(split, model, readout=MapReadout())


def grid(protocol, defense="boostlu", **changes):
    shared = {
        "dataset": SMALL_DIGITS, "model": "tiny", "attacks": ("targeted",), "seeds": (0, 1),
        "defenses": ("large-loss", defense), "epochs": 1, "lrs": (0.01,), "reference": False,
    }  # fmt: skip
    return Grid(protocol=protocol, **(shared | changes)).cells("")


@pytest.mark.parametrize("asked", ["linear", "finetune"])
def test_the_loss_chooses_its_protocol_and_stays_on_the_board(asked):
    cells = grid(asked)
    by_defense = {cell.loss.name: cell.protocol for cell in cells}
    assert by_defense == {"large-loss": asked, "boostlu": f"{asked}-boosted:scale=5.0"}
    assert {asked_protocol(cell.protocol) for cell in cells} == {asked}
    assert {board_key_of(SimpleNamespace(cell=cell)).protocol for cell in cells} == {asked}
    assert {c.protocol for c in grid(asked, "boostlu:scale=1")} == {asked}
    # Heads of the frozen backbone train together; those on maps one by one.
    assert sorted(map(len, groups(cells))) == ([1, 1, 2] if asked == "linear" else [1, 1, 1, 1])


def test_recipes_are_those_of_the_protocol_that_was_asked_for():
    for cell in grid("finetune", micro_batch=4):
        assert cell.recipe.micro_batch == 4
    assert {c.recipe for c in grid("finetune", lrs=())} == {
        c.recipe for c in grid("finetune", defenses=("an",), lrs=())
    }


def test_a_protocol_without_maps_refuses(tmp_path, forgotten):
    path = tmp_path / "head_only.py"
    path.write_text(HEAD_ONLY, encoding="utf-8")
    load_plugin(path)
    assert {cell.protocol for cell in grid("head-only", "an")} == {"head-only"}
    with pytest.raises(ParameterError, match="HeadOnly must expose the map.*linear$"):
        grid("head-only")


@pytest.mark.parametrize("name", ["linear-boosted", "finetune-boosted:scale=2"])
def test_a_boosted_protocol_cannot_be_asked_for(name):
    with pytest.raises(ParameterError, match=f"got '{name.partition(':')[0]}', .*; give "):
        grid(name)


def test_parameters_are_those_of_large_loss():
    assert defenses.create("boostlu").activation_scale == 5
    assert defenses.create("boostlu:scale=2").activation_scale == 2
    assert defenses.create("large-loss").activation_scale == 1
    permanent = defenses.create("boostlu:mode=correct-permanently")
    assert permanent.delta == 0.001 and permanent.ties
    with pytest.raises(ParameterError, match="scale"):
        defenses.create("boostlu:scale=0")


BENCH = (
    "bench", "--defense", "boostlu", "--defense", "large-loss", "--attack", "targeted",
    "--dataset", "digits:train=200,val=60,test=100", "--seeds", "1", "--epochs", "2",
    "--lr", "0.01", "--jobs", "1", "--out", "store",
)  # fmt: skip


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_a_benchmark_end_to_end(protocol, tmp_path, monkeypatch, capsys):
    command = [*BENCH, "--protocol", protocol]

    def run(*more):
        assert exit_code(monkeypatch, tmp_path, [*command, *more, "--json"]) == 0
        out, err = capsys.readouterr()
        (board,) = json.loads(out)
        assert board["protocol"] == protocol
        assert {row["defense"].partition(":")[0] for row in board["rows"]} == {
            "bce", "boostlu", "large-loss",
        }  # fmt: skip
        return {row["defense"].partition(":")[0]: row for row in board["rows"]}, err

    first, _ = run("--d-score", "none")
    store = RecordStore(tmp_path / "store", create=False)
    (record,) = (r for r in store if r.cell.loss.name == "boostlu")
    trained = store.weights(record.key)
    # What is measured later is measured of the stored weights, and nothing is trained again.
    more = (
        "--d-score",
        "grid=2,images=10",
        "--robustness",
        "evasion:steps=1,images=10,corruption:images=10",
    )
    measured, _ = run(*more)
    again = store.weights(record.key)
    assert all(torch.equal(again[name], trained[name]) for name in trained)
    assert measured["boostlu"]["map"] == first["boostlu"]["map"]
    assert measured["boostlu"]["d_score"] is not None
    assert set(store.get(record.key).outcomes) == {"d-score", "evasion", "corruption"}
    assert "nothing to compute" in run(*more)[1]
    assert (
        exit_code(
            monkeypatch,
            tmp_path,
            [
                "score",
                "store",
                "--jobs",
                "1",
                "--grid",
                "0",
                "--d-score",
                "grid=2,images=10",
                "--json",
            ],
        )
        == 0
    )
    scored = json.loads(capsys.readouterr().out)
    assert {s["name"].partition(" ")[0] for s in scored} == {"bce", "boostlu", "large-loss"}
    whole = protocols.create(record.cell.protocol)
    rebuilt = whole.rebuild(models.create("tiny"), 10, trained)
    assert isinstance(whole.whole(models.create("tiny"), rebuilt), ActivationNetwork)
    torch.save(trained, tmp_path / "weights.pt")
    found = network_of_file(tmp_path / "weights.pt", SMALL_DIGITS, "tiny")
    assert found.protocol == f"{protocol}-boosted"


def test_a_searched_factor_is_chosen_on_validation(tmp_path, monkeypatch, capsys):
    command = [
        *BENCH,
        "--protocol",
        "linear",
        "--search",
        "boostlu.scale=1,5,20",
        "--d-score",
        "none",
    ]
    command += ["--trials", "3", "--lr", "0.02", "--lr", "0.03", "--no-reference"]
    assert exit_code(monkeypatch, tmp_path, command) == 0, capsys.readouterr().err
    records = [
        r for r in RecordStore(tmp_path / "store", create=False) if r.cell.loss.name == "boostlu"
    ]
    assert len({r.cell.protocol for r in records}) > 1
    (chosen,) = selected_runs(records)
    assert chosen.val_map == max(r.val_map for r in records)
