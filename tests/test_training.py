import errno
import hashlib
import json
import math
import multiprocessing
import os
import platform
import time
from contextlib import contextmanager, nullcontext
from multiprocessing import connection

import numpy as np
import pytest
import torch
from PIL import Image

from labelattack import attacks, datasets, defenses, models
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import (
    LabelAttackError,
    ModelError,
    ParameterError,
    StoreError,
    TrainingDivergedError,
)
from labelattack.files.storage import PART, written_whole
from labelattack.training import feature_cache as feature_cache
from labelattack.training.compute import Compute
from labelattack.training.feature_cache import cache_folder
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import FeatureInputs, ImageInputs, split_batches
from labelattack.training.loop import fit, predict
from labelattack.training.recipe import Recipe
from labelattack.training.workers import in_order, worker_pool
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
    readout = options.pop("readout", feature_cache.PooledReadout())
    compute = Compute(**options)
    return feature_cache.features(split, model, readout=readout, compute=compute)["features"]


def cached():
    return sorted((cache_folder() / "features").iterdir())


@pytest.fixture
def extracted(monkeypatch):
    """Grows by one with every extraction."""
    calls, original = [], feature_cache._extract
    monkeypatch.setattr(feature_cache, "_extract", lambda *a: calls.append(a) or original(*a))
    return calls


def test_features_are_cached_and_damage_is_noticed(split, extracted):
    first = np.array(features(split, resolved("tiny")))
    assert np.array_equal(features(split, resolved("tiny")), first) and len(extracted) == 1
    array, contents = cached()
    assert (array.suffix, contents.suffix) == (".npy", ".json")
    for path in (array, contents):
        good = path.read_bytes()
        damages = [good[:-7], good[:50], b"", good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], None]
        for damage in damages:
            path.unlink()  # not changed in place: what has been read is a map of it
            if damage is not None:
                path.write_bytes(damage)
            extracted.clear()
            assert np.array_equal(features(split, resolved("tiny")), first)
            assert extracted, "a damaged cache must be recomputed"
            assert path.read_bytes() == good


@pytest.mark.parametrize("what", ["key", "length", "type", "nothing"])
def test_features_of_something_else_are_not_taken(split, extracted, what):
    first = np.array(features(split, resolved("tiny")))
    array, contents = cached()
    said = json.loads(contents.read_text())
    if what == "key":
        said["key"] = "another"
    elif what == "nothing":
        said["sha256"] = {}
    else:
        array.unlink()
        np.save(array, first[:-1] if what == "length" else first.astype(np.float64))
        said["sha256"]["features"] = hashlib.sha256(array.read_bytes()).hexdigest()
    contents.write_text(json.dumps(said))
    extracted.clear()
    assert np.array_equal(features(split, resolved("tiny")), first) and extracted


def test_features_are_maps_that_are_not_copied_and_never_written(split):
    found = features(split, resolved("tiny"))
    inputs = FeatureInputs(found, CPU)
    assert isinstance(found, np.memmap) and inputs.features.data_ptr() == found.ctypes.data
    before = [path.read_bytes() for path in cached()]
    inputs.features += 1
    assert [path.read_bytes() for path in cached()] == before
    assert np.array_equal(features(split, resolved("tiny")) + 1, found)


def ended(sentinels):
    """Waits for processes; not by joining them, which their executor's thread does meanwhile."""
    while sentinels:
        over = connection.wait(sentinels, timeout=30)
        if not over:
            return False
        sentinels = [sentinel for sentinel in sentinels if sentinel not in over]
    return True


@pytest.fixture
def none_left():
    """Waits for processes that the test has started."""
    before = multiprocessing.active_children()
    return lambda: ended(
        [one.sentinel for one in multiprocessing.active_children() if one not in before]
    )


@pytest.fixture(scope="module")
def pool():
    """Two processes; they take seconds to start."""
    with worker_pool(2, ()) as opened:
        yield opened


class Failing(feature_cache.PooledReadout):
    def __call__(self, backbone, batch):
        if len(batch) < feature_cache._ON_CPU.batch:
            raise RuntimeError("the last batch fails")
        return super().__call__(backbone, batch)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_not_extracted_to_the_end_leaves_nothing(jobs, none_left):
    split = (
        datasets.create("digits").load().train.take(np.arange(10 * feature_cache._ON_CPU.chunk + 1))
    )
    with pytest.raises(RuntimeError, match="last batch"):
        features(split, resolved("tiny"), readout=Failing(), jobs=jobs)
    assert not cached()

    def interrupt(what, done, total):
        if done:
            assert len(list((cache_folder() / "features").glob(f"{PART}*"))) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features(split, resolved("tiny"), progress=interrupt, jobs=jobs)
    assert not cached() and none_left()


def test_a_cache_that_cannot_be_written_is_said(split, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="LABELATTACK_CACHE must name a folder"):
        features(split, resolved("tiny"))
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path))
    (tmp_path / "features").touch()
    with pytest.raises(StoreError, match="features cannot be cached at"):
        features(split, resolved("tiny"))


def test_a_full_disk_is_said_and_ends_the_processes(monkeypatch, none_left):
    @contextmanager
    def full(path, shape):
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    monkeypatch.setattr(feature_cache, "_array", full)
    split = datasets.create("digits").load().train.take(np.arange(10 * feature_cache._ON_CPU.chunk))
    with pytest.raises(StoreError, match="cannot be cached.*No space left") as caught:
        features(split, resolved("tiny"), jobs=2)
    assert none_left() and caught.tb  # which keeps alive what is not closed


def features_and_calls(cache):
    os.environ["LABELATTACK_CACHE"] = cache
    calls = []
    split = datasets.create(SMALL_DIGITS).load().train
    found = features(split, resolved("tiny"), progress=lambda *a: calls.append(a))
    return np.array(found), len(calls)


def test_several_processes_extract_once(pool):
    (one, calls), (other, more) = pool.map(features_and_calls, 2 * [str(cache_folder())])
    assert np.array_equal(one, other) and sorted((calls, more)) == [0, 2]


def test_few_tasks_are_begun_before_the_first_is_taken(pool):
    with worker_pool(1, ()) as alone:
        for workers in (alone, pool):
            begun = []
            tasks = ((begun.append(number) or number,) for number in range(20))
            for taken, result in enumerate(in_order(workers, abs, tasks, ahead=3)):
                assert result == taken and len(begun) <= taken + 4


def test_features_depend_on_what_makes_them(split):
    features(split, resolved("tiny"))
    features(split, resolved("tiny:prior=0.5"))  # the head's bias does not matter
    assert len(cached()) == 2
    features(split.take(np.arange(10)), resolved("tiny"))
    features(split, resolved("resnet18:weights=none,size=32"))
    assert len(cached()) == 6


def test_features_equal_the_network(split):
    found = features(split, resolved("tiny"))
    network = models.create("tiny").frozen()
    (batch,) = ImageInputs(split.images, models.create("tiny").preprocessing, CPU).stream(
        [np.arange(len(split.ids))]
    )
    expected = network(batch).mean((2, 3)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_features_over_processes_equal_those_of_one(monkeypatch, pool):
    split = (
        datasets.create("digits").load().test.take(np.arange(3 * feature_cache._ON_CPU.chunk + 5))
    )
    alone = features(split, resolved("tiny"))
    monkeypatch.setenv("LABELATTACK_CACHE", str(cache_folder() / "other"))
    monkeypatch.setattr(feature_cache, "worker_pool", lambda jobs, plugins: nullcontext(pool))
    assert np.array_equal(features(split, resolved("tiny"), jobs=2), alone)


@pytest.mark.parametrize(("images", "processes"), [(1, 1), (64, 1), (65, 2), (300, 3)])
def test_features_start_no_more_processes_than_there_is_work_for(monkeypatch, images, processes):
    asked = []

    def alone(jobs, plugins):
        asked.append(jobs)
        return worker_pool(1, plugins)

    monkeypatch.setattr(feature_cache, "worker_pool", alone)
    test = datasets.create("digits").load().test.take(np.arange(images))
    assert len(features(test, resolved("tiny"), jobs=3)) == images and asked == [processes]


def test_batches_are_normalised_in_the_layout_of_convolutions(split):
    preprocessing = models.create("resnet18:weights=none,size=32").preprocessing._replace(size=20)
    (batch,) = ImageInputs(split.images, preprocessing, CPU).stream([np.arange(3)])
    assert batch.shape == (3, 3, 20, 20)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    image = Image.fromarray(split.images[1]).resize((20, 20), Image.Resampling.BILINEAR)
    mean, std = (np.float32(v) * np.float32(255) for v in preprocessing[1:3])
    expected = (np.asarray(image, dtype=np.float32) - mean) / std
    assert np.array_equal(batch[1].permute(1, 2, 0).numpy(), expected)


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


def faults_of_a_later_tensor():
    import resource

    for _ in range(20):  # small ones settle between the first of them
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 26, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_workers_keep_the_memory_of_large_tensors(pool):
    assert pool.submit(faults_of_a_later_tensor).result() < 100  # of 16,384 pages


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
    assert ended(sentinels)
    assert not list(tmp_path.iterdir())
