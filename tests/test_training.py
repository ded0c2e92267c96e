import math
import os
import time
from multiprocessing import connection

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from labelattack import attacks, datasets, defenses, models
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import LabelAttackError, ModelError, ParameterError, TrainingDivergedError
from labelattack.storage import written_whole
from labelattack.training import features as feature_cache
from labelattack.training.device import resolve_device
from labelattack.training.features import cache_folder
from labelattack.training.fit import fit, predict
from labelattack.training.inputs import FeatureInputs, ImageInputs, split_batches
from labelattack.training.recipe import Recipe
from labelattack.training.workers import worker_pool
from tests.conftest import SMALL_DIGITS

CPU = torch.device("cpu")


@pytest.fixture
def split():
    return datasets.create(SMALL_DIGITS).load().train


def resolved(spec):
    return models.registry.resolve(spec)


def run_fit(seed=0, epochs=3, loss=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(53, 4)).astype(np.float32)
    labels = attacks.create("targeted")(x[:, :3] > 0.5, seed=0)
    loss = loss or defenses.create("role")
    loss.bind(Task(labels=labels, seed=0, expected_positives=1.0))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = torch.nn.Linear(4, 3)
    inputs = FeatureInputs(x, CPU)
    scores = iter([0.2, 0.9, 0.4, 0.1])
    result = fit(
        head,
        loss,
        inputs,
        inputs,
        labels,
        Recipe(epochs=epochs, lr=0.1, batch_size=16),
        seed=seed,
        device=CPU,
        validate=lambda _: next(scores),
    )
    return head, inputs, result


def test_fit_keeps_the_epoch_that_validates_best():
    _, _, result = run_fit()
    _, _, until_then = run_fit(epochs=2)
    assert result.selected == 2
    assert torch.equal(result.state["weight"], until_then.state["weight"])


def test_fit_is_deterministic():
    first, second = run_fit()[2], run_fit()[2]
    assert first.epochs == second.epochs
    assert torch.equal(first.state["weight"], second.state["weight"])


def test_training_trains():
    history = run_fit(loss=defenses.create("an"))[2].epochs
    assert history[-1].loss < history[0].loss


def test_no_image_is_dropped():
    assert [len(b) for b in split_batches(np.arange(53), 16)] == [16, 16, 16, 5]
    head, inputs, _ = run_fit()
    assert predict(head, inputs).shape == (53, 3)


def test_loss_parameters_learn_faster_by_their_scale():
    loss = defenses.create("role")
    run_fit(loss=loss, epochs=1)
    moved = loss.estimates.detach().abs().max()
    assert moved > 2  # ten times the network's rate of 0.1, over four steps


def test_divergence_is_an_error():
    class Explodes(PartialLabelLoss):
        def loss(self, logits, step):
            return logits.sum() * (math.nan if step.epoch == 2 else 1)

    with pytest.raises(TrainingDivergedError, match="got nan in epoch 2"):
        run_fit(loss=Explodes())


def features(split, model, **options):
    return feature_cache.features(split, model, **options)["features"]


def test_features_are_cached_and_damage_is_noticed(split, monkeypatch):
    first = features(split, resolved("tiny"))
    (path,) = (cache_folder() / "features").glob("*.safetensors")
    extracted = []
    original = feature_cache._extract
    monkeypatch.setattr(feature_cache, "_extract", lambda *a: extracted.append(1) or original(*a))
    assert np.array_equal(features(split, resolved("tiny")), first) and not extracted
    good = path.read_bytes()
    for damage in (good[:-7], good[:50], b"", good[:-1] + bytes([good[-1] ^ 1])):
        path.write_bytes(damage)
        extracted.clear()
        assert np.array_equal(features(split, resolved("tiny")), first)
        assert extracted, "a damaged cache must be recomputed"
    save_file(load_file(path), path, metadata={"key": "another", "sha256": "x"})
    extracted.clear()
    assert np.array_equal(features(split, resolved("tiny")), first) and extracted


def test_features_depend_on_what_makes_them(split):
    features(split, resolved("tiny"))
    features(split, resolved("tiny:prior=0.5"))  # the head's bias does not matter
    assert len(list((cache_folder() / "features").iterdir())) == 1
    features(split.take(np.arange(10)), resolved("tiny"))
    features(split, resolved("resnet18:weights=none,size=32"))
    assert len(list((cache_folder() / "features").iterdir())) == 3


def test_features_equal_the_network(split):
    found = features(split, resolved("tiny"))
    network = models.create("tiny").frozen()
    (batch,) = ImageInputs(split.images, models.create("tiny").preprocessing, CPU).stream(
        [np.arange(len(split.ids))]
    )
    expected = network(batch).mean((2, 3)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_features_over_processes_equal_those_of_one(split, monkeypatch):
    alone = features(split, resolved("tiny"))
    monkeypatch.setenv("LABELATTACK_CACHE", str(cache_folder() / "other"))
    assert np.array_equal(features(split, resolved("tiny"), jobs=2), alone)


def test_flips_happen_in_training_only(split):
    inputs = ImageInputs(
        split.images, models.create("resnet18:weights=none,size=32").preprocessing, CPU
    )
    rows = [np.arange(60)]
    (plain,), (augmented,) = inputs.stream(rows), inputs.stream(rows, seed=1)
    mirrored = plain.flip(3)
    kinds = [
        (torch.equal(a, p), torch.equal(a, m))
        for a, p, m in zip(augmented, plain, mirrored, strict=True)
    ]
    assert all(any(kind) for kind in kinds)
    assert 10 < sum(kind[1] for kind in kinds) < 50


@pytest.mark.parametrize(("budget", "decoded"), [(10 * 3 * 16**2, 10), (10 * 3 * 16**2 - 1, 20)])
def test_a_split_is_kept_whole_or_not_at_all(split, monkeypatch, budget, decoded):
    class Counted:
        reads = 0

        def __len__(self):
            return 10

        def __getitem__(self, index):
            Counted.reads += 1
            return split.images[index]

    monkeypatch.setattr("labelattack.training.inputs._MEMORY_BUDGET", budget)
    preprocessing = models.create("resnet18:weights=none,size=32").preprocessing._replace(size=16)
    inputs = ImageInputs(Counted(), preprocessing, CPU)
    batches = split_batches(np.arange(10), 4)
    first, second = (torch.cat(list(inputs.stream(batches))) for _ in range(2))
    assert Counted.reads == decoded and torch.equal(first, second)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_weights_load(tmp_path, suffix):
    from safetensors.torch import save_file as save_torch
    from torchvision.models import resnet50

    torch.manual_seed(5)
    network = resnet50()
    path = tmp_path / f"weights{suffix}"
    state = network.state_dict()
    save_torch(state, path) if suffix == ".safetensors" else torch.save(state, path)
    backbone = models.create(f"resnet50:weights={path},size=64").frozen()
    assert torch.equal(backbone[0].weight, network.conv1.weight)


def test_weights_that_do_not_fit_or_are_absent(tmp_path):
    with pytest.raises(ModelError, match="which is not there"):
        models.create(f"resnet18:weights={tmp_path}/no.pth").frozen()
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(ModelError, match="missing"):
        models.create(f"resnet18:weights={tmp_path}/part.pth").frozen()


def test_prior_sets_the_bias():
    head = models.create("tiny:prior=0.2").head(3, seed=0)
    assert head.bias.tolist() == pytest.approx([math.log(0.25)] * 3)
    free = models.create("tiny:prior=none").head(3, seed=0)
    assert len(set(free.bias.tolist())) == 3


def test_unknown_device():
    with pytest.raises(ParameterError, match="device must be"):
        resolve_device("gpu")


def test_a_dead_worker_is_said():
    with (
        pytest.raises(LabelAttackError, match="worker process must not die.*again"),
        worker_pool(2, ()) as pool,
    ):
        pool.submit(os._exit, 9).result()


def write_and_wait(path):
    with written_whole(path) as part:
        part.write_text("half")
        time.sleep(60)


@pytest.mark.parametrize("tasks", [1, 3])
def test_workers_that_are_ended_leave_nothing_half_written(tmp_path, tasks):
    """Busy or idle, and with a task that waits in the queue."""
    deadline = time.monotonic() + 60
    with pytest.raises(KeyboardInterrupt), worker_pool(2, ()) as pool:
        for number in range(tasks):
            pool.submit(write_and_wait, tmp_path / f"{number}.json")
        while len(list(tmp_path.iterdir())) < min(tasks, 2):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sentinels = [process.sentinel for process in pool._processes.values()]
        raise KeyboardInterrupt
    while sentinels:
        ended = connection.wait(sentinels, timeout=30)
        assert ended
        sentinels = [sentinel for sentinel in sentinels if sentinel not in ended]
    assert not list(tmp_path.iterdir())
