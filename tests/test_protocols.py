"""Training protocols: the contract over all that are registered, and a new one in one file."""

import json

import pytest
import torch

from labelattack.benchmark.execution.grouping import groups
from labelattack.benchmark.plan.cell import CODE, Cell, code_behind
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.errors import (
    ModelError,
    ParameterError,
    PluginError,
    StoreError,
    UnknownNameError,
)
from labelattack.models import registry as models
from labelattack.registry.plugins import load_plugin
from labelattack.seeding import stream_seed
from labelattack.training import distributed, protocols
from labelattack.training.compute import ONE_CPU
from labelattack.training.loop import predict
from labelattack.training.protocols import protocol_of_state
from tests.conftest import SMALL_DIGITS, exit_code

CPU = torch.device("cpu")
NAMES = [d.name for d in protocols.registry.declarations() if d.origin == "built-in"]
HALF = '''
"""A protocol that trains the head of a network end to end, the backbone held."""
from dataclasses import dataclass
from labelattack.training.protocols import register
from labelattack.training.protocols.finetune import Finetune
from labelattack.training.recipe import SearchSpace

@register("head-only")
@dataclass(frozen=True, kw_only=True)
class HeadOnly(Finetune):
    """Trains the head alone, from images.

    Args:
        lr: Learning rate that is searched.
    """
    lr: float = 0.01
    data_parallel = False

    def search_space(self, model):
        return SearchSpace(lrs=(self.lr,), batch_sizes=(16,))

    def build(self, model, labels, *, seed):
        network = model.build(labels, seed=seed)
        network.backbone.requires_grad_(False)
        return network
'''


@pytest.fixture(scope="module")
def splits():
    return datasets.create(SMALL_DIGITS).load()


@pytest.fixture(params=NAMES)
def protocol(request):
    return protocols.create(request.param)


def test_all_are_found_with_what_they_are():
    assert NAMES == ["finetune", "finetune-boosted", "linear", "linear-boosted"]
    assert all(d.summary and d.source for d in protocols.registry.declarations())


def test_what_is_built_is_seeded_and_maps_inputs_to_logits(protocol, splits):
    model = models.create("tiny")
    ready = protocol.prepare(splits, models.resolve("tiny"), ONE_CPU)
    one, same, other = (protocol.build(model, 10, seed=seed) for seed in (0, 0, 1))
    scores = [predict(network, ready.test) for network in (one, same, other)]
    assert scores[0].shape == splits.test.labels.shape
    assert (scores[0] == scores[1]).all() and (scores[0] != scores[2]).any()


def test_weights_are_known_by_their_protocol_and_rebuilt(protocol, splits):
    model = models.create("tiny")
    state = protocol.build(model, 10, seed=3).state_dict()
    owners = [name for name in NAMES if protocols.registry.get(name).owns(state)]
    assert len(owners) == 1 and type(protocol) is protocols.registry.get(owners[0])
    assert protocol_of_state(state) == owners[0]
    assert protocol_of_state({f"module.{name}": it for name, it in state.items()}) == owners[0]
    rebuilt = protocol.rebuild(model, 10, state)
    for name, tensor in rebuilt.state_dict().items():
        assert torch.equal(tensor, state[name])
    with pytest.raises(ModelError, match="weights must fit the model"):
        protocol.rebuild(model, 9, state)


def test_the_whole_network_gives_what_was_trained_gives(protocol, splits):
    """Of images; the linear head sees them through the backbone that made its features."""
    model = models.create("tiny")
    trained = protocol.build(model, 10, seed=3)
    ready = protocol.prepare(splits, models.resolve("tiny"), ONE_CPU)
    images = protocols.create("finetune").prepare(splits, models.resolve("tiny"), ONE_CPU)
    whole = protocol.whole(model, trained)
    torch.testing.assert_close(
        torch.from_numpy(predict(trained, ready.test)),
        torch.from_numpy(predict(whole, images.test)),
    )


def test_weights_of_no_protocol_are_an_error():
    with pytest.raises(StoreError, match=r"linear, linear-boosted\), got tensors conv.weight$"):
        protocol_of_state({"conv.weight": torch.zeros(1)})
    with pytest.raises(StoreError, match="got tensors none"):
        protocol_of_state({})
    # A network whose backbone learns nothing has a head within it, and is no lone head.
    lone = {"head.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    assert protocol_of_state(lone) == "finetune"


def grid(protocol, **changes):
    shared = {
        "dataset": SMALL_DIGITS, "model": "tiny", "attacks": ("targeted",), "defenses": ("an",),
        "seeds": (0, 1), "epochs": 1, "lrs": (0.01,), "reference": False,
    }  # fmt: skip
    return Grid(protocol=protocol, **(shared | changes))


def test_flags_decide_what_names_did(monkeypatch):
    assert {c.recipe.micro_batch for c in grid("finetune", micro_batch=4).cells("")} == {4}
    assert {c.recipe.micro_batch for c in grid("linear", micro_batch=4).cells("")} == {None}
    assert [len(group) for group in groups(grid("finetune").cells(""))] == [1, 1]
    assert [len(group) for group in groups(grid("linear").cells(""))] == [2]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    distributed.check_parallel("finetune", allowed=True)
    with pytest.raises(
        ParameterError, match="torchrun must be used with --protocol finetune.*got linear"
    ):
        distributed.check_parallel("linear", allowed=False)


def test_an_unknown_protocol_is_named_before_anything_is_read():
    for name, hint in (
        ("linar", "did you mean 'linear'"),
        ("x", "known: finetune, finetune-boosted, linear"),
    ):
        with pytest.raises(UnknownNameError, match=f"unknown protocol '{name}'; {hint}"):
            grid(name, dataset="voc:root=/nowhere").cells("")


def test_records_of_a_protocol_that_is_not_loaded_can_be_read():
    cell = grid("linear").cells("")[0].model_dump() | {"protocol": "gone:depth=2"}
    assert Cell.model_validate(cell).protocol == "gone:depth=2"


@pytest.fixture
def half(tmp_path, forgotten):
    path = tmp_path / "half.py"
    path.write_text(HALF, encoding="utf-8")
    return path


def test_a_new_protocol_is_one_file(half, tmp_path, monkeypatch, capsys):
    command = [
        "bench", "--dataset", SMALL_DIGITS, "--protocol", "head-only:lr=0.02", "--attack", "random",
        "--defense", "an", "--seeds", "1", "--epochs", "2", "--jobs", "1", "--out", "store", "--json",
        "--d-score", "none", "--micro-batch", "8", "--plugin", half,
    ]  # fmt: skip
    assert exit_code(monkeypatch, tmp_path, command) == 0
    (board,) = json.loads(capsys.readouterr().out)
    assert board["protocol"] == "head-only:lr=0.02"
    store = RecordStore(tmp_path / "store", create=False)
    for record in store:
        assert record.status == "done", record.reason
        assert record.cell.recipe.lr == 0.02 and record.cell.recipe.micro_batch == 8
        assert record.cell.versions[CODE] == code_behind("head-only:lr=0.02")
        state = store.weights(record.key)
        fresh = models.create("tiny").build(10, seed=stream_seed(0, "initialisation"))
        kept = {n: torch.equal(p, state[n]) for n, p in fresh.named_parameters()}
        assert all(same == name.startswith("backbone") for name, same in kept.items())
    # With other parameters it is another experiment.
    assert exit_code(monkeypatch, tmp_path, [*command[:4], "head-only", *command[5:]]) == 0


def test_the_code_of_a_new_protocol_is_in_the_keys_of_its_cells(half):
    assert CODE not in grid("linear").cells("")[0].versions
    load_plugin(half)
    (first, _) = grid("head-only").cells("")
    assert first.versions[CODE].startswith("head-only-1+")


def test_a_protocol_must_give_a_fit_for_each_run(tmp_path, monkeypatch):
    from labelattack.benchmark.execution.run_cell import run_cells
    from labelattack.training.protocols.linear import Linear

    monkeypatch.setattr(Linear, "train", lambda self, runs, prepared, device: [])
    fingerprint = datasets.create(SMALL_DIGITS).load().fingerprint
    with pytest.raises(PluginError, match="must return a fit for each of 2 runs, got 0"):
        list(run_cells(grid("linear").cells(fingerprint)))
