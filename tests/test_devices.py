"""Training and measuring on another device than the CPU: a simulated one, and CUDA where it is."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils._pytree import tree_leaves

from labelattack import datasets, defenses, measures, models
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.gate.baseline import baseline_of
from labelattack.benchmark.gate.check import Limits, compare
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.report.tables import remarks
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.images import ArrayImages, FileImages
from labelattack.defenses.base import Task
from labelattack.errors import ParameterError
from labelattack.labels import PartialLabels
from labelattack.measures.request import MeasureRequest
from labelattack.metrics.average_precision import mean_average_precisions
from labelattack.models.base import Preprocessing
from labelattack.process_cache import forget
from labelattack.testing import simulated_device as simulated
from labelattack.testing.defenses import _trained
from labelattack.testing.measures import _taken
from labelattack.testing.simulated_device import simulated_device
from labelattack.training import hardware, inputs, loop
from labelattack.training.hardware import reduced_precision, to_device, torch_settings_kept
from labelattack.training.inputs import FeatureInputs, ImageInputs, split_batches
from labelattack.training.loop import fit, predict
from labelattack.training.recipe import Recipe
from labelattack.training.vectorized.device_maps import device_maps, maps_of
from tests.conftest import SMALL_DIGITS
from tests.test_contracts import QUICK

CPU = torch.device("cpu")
PLAIN = Preprocessing(None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flip=True)
# CUDA adds in another order: of a mean over 16 x 20 entries, and of the weights of two epochs.
CLOSE, CLOSE_MAP, CLOSE_MAP_BFLOAT16 = {"rtol": 1e-4, "atol": 1e-5}, 5e-3, 0.1
gpu = pytest.mark.gpu


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=gpu)])
def device(request):
    if request.param == "cuda":
        return request.getfixturevalue("cuda")
    found = simulated_device()
    if found is None:
        pytest.skip("this process cannot have a simulated device")
    return found


def cells(**options):
    usual = {
        "dataset": SMALL_DIGITS, "model": "tiny", "protocol": "linear", "seeds": (0, 1),
        "attacks": ("random:rate=0.4",), "defenses": ("an", "role"), "epochs": 2,
        "lrs": (1e-2,), "batch_sizes": (16,), "reference": False,
    }  # fmt: skip
    grid = Grid(**usual | options)
    return grid.cells(load(str(datasets.registry.resolve(grid.dataset))).fingerprint)


def done(some, device):
    forget()
    found = [r for group in some for r in run_cells(group, device=str(device))]
    assert [r.reason for r in found] == [""] * len(found)
    return found


@pytest.mark.parametrize("protocol", ["linear", "finetune", "linear:parts=3"])
def test_a_protocol_gives_what_it_gives_on_the_cpu(device, protocol):
    group = cells(protocol=protocol, seeds=(0,))
    groups = [group] if protocol.startswith("linear") else [[cell] for cell in group]
    here, there = done(groups, CPU), done(groups, device)
    reduced = protocol == "finetune" and device.type == "cuda"
    for mine, theirs in zip(there, here, strict=True):
        assert mine.removal.attacked_labels == theirs.removal.attacked_labels
        close = CLOSE_MAP_BFLOAT16 if reduced else CLOSE_MAP
        assert abs(mine.test.map - theirs.test.map) < close
        assert abs(mine.val_map - theirs.val_map) < close
        assert mine.epochs[-1].loss == pytest.approx(theirs.epochs[-1].loss, rel=close)


def test_a_repeated_run_is_equal_to_the_last_bit(device):
    for protocol in ("linear", "finetune"):
        group = cells(protocol=protocol, defenses=("role",), seeds=(0,))
        first, second = done([group], device)[0], done([group], device)[0]
        assert first.epochs == second.epochs and first.test == second.test


@gpu
def test_an_informed_attack_hides_as_much_as_on_the_cpu(cuda):
    """Its surrogate, trained on the device, rounds otherwise: two neighbours may change places."""
    group = cells(attacks=("machine-suggested",), defenses=("an",), seeds=(0,), epochs=1)
    (here,), (there,) = done([group], CPU), done([group], cuda)
    assert there.removal.positives_removed == here.removal.positives_removed > 0


def test_a_store_of_one_device_goes_on_on_another(device, tmp_path):
    """Weights that one device trained are measured on the other, and the other half is trained."""
    request = MeasureRequest.of(measures.create(QUICK["d-score"]))
    for number, (first, then) in enumerate(((CPU, device), (device, CPU))):
        store, some = RecordStore(tmp_path / str(number)), cells(seeds=(0,))
        run_grid(some, store, RunOptions(device=str(first)))
        forget()
        both = cells(seeds=(0, 1))
        assert run_grid(both, store, RunOptions(device=str(then), measures=request)) == len(both)
        for cell in both:
            record = store.get(cell.key)
            assert record.status == "done" and "d-score" in record.outcomes
        (trained,) = (store.get(c.key) for c in some if c.loss.name == "an")
        assert trained.device == str(first)
        # A reader and the gate are told that numbers of two devices meet.
        records = [store.get(cell.key) for cell in both]
        (board,) = boards(records)
        kinds = f"cpu and {device.type}"
        assert f"computed on several devices, which round otherwise: {kinds}" in remarks(board)
        here, there = (
            baseline_of([r for r in records if r.device == str(place)], ["map"])
            for place in (CPU, device)
        )
        told = [compare(*both, Limits()).notes for both in ((here, there), (there, here))]
        assert f"device cpu then, {device.type} now" in told[0]
        assert f"device {device.type} then, cpu now" in told[1]


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_no_step_waits_for_the_device(protocol, monkeypatch):
    """Whatever comes back to the CPU does so once an epoch, however many steps it has."""
    there = simulated_device()
    if there is None:
        pytest.skip("this process cannot have a simulated device")
    computed, waits = simulated._computed, []

    def counted(op, args, kwargs):
        found = computed(op, args, kwargs)
        own = any(isinstance(leaf, simulated.DeviceTensor) for leaf in tree_leaves((args, kwargs)))
        made = any(isinstance(leaf, simulated.DeviceTensor) for leaf in tree_leaves(found))
        told = isinstance(found, (torch.Tensor, int, float)) and "shallow_copy" not in str(op)
        if own and not made and told:
            waits[-1][str(op)] += 1
        return found

    monkeypatch.setattr(simulated, "_computed", counted)
    for batch_size in (30, 30, 6):  # the first of them also extracts features
        waits.append(Counter())
        group = cells(protocol=protocol, batch_sizes=(batch_size,), seeds=(0,), defenses=("role",))
        done([group], there)
    _, few, many = waits
    assert few == many and few.total() > 3


def test_the_main_command_takes_the_device(device, tmp_path, run):
    run(
        "bench", "--attack", "targeted", "--defense", "pseudo-history", "--dataset", SMALL_DIGITS,
        "--epochs", 1, "--device", device, "--d-score", "images=6,grid=3", "--out", "out",
        "--seeds", 1, "--json",
    )  # fmt: skip
    records = [json.loads(p.read_text()) for p in tmp_path.glob("out/records/**/*.json")]
    assert records and all(record["device"].startswith(device.type) for record in records)


@gpu
@pytest.mark.parametrize("name", sorted(defenses.registry.names()))
def test_a_loss_computes_on_cuda_what_it_computes_on_the_cpu(cuda, name):
    usual, *others = (_trained(name, *p) for p in ((CPU, CPU), (cuda, CPU), (CPU, cuda)))
    for found in others:
        for mine, theirs in zip(found, usual, strict=True):
            assert torch.allclose(mine.double(), theirs.double(), **CLOSE)


@gpu
@pytest.mark.parametrize("name", sorted(measures.registry.names()))
def test_a_measure_computes_on_cuda_what_it_computes_on_the_cpu(cuda, name):
    spec = QUICK.get(name, name)
    if (usual := _taken(spec)) is None:
        pytest.skip("is derived from boards")
    measure, outcome = usual
    _, found = _taken(spec, str(cuda))
    for metric in measure.metrics:
        assert found.value(metric.name) == pytest.approx(outcome.value(metric.name), abs=0.02)


@gpu
def test_two_processes_share_a_card(cuda, tmp_path, run):
    run(
        "bench", "--attack", "random", "--defense", "an", "--defense", "role", "--device", "cuda",
        "--dataset", SMALL_DIGITS, "--epochs", 2, "--seeds", 2, "--jobs", 2, "--out", "out",
    )  # fmt: skip
    records = [json.loads(p.read_text()) for p in tmp_path.glob("out/records/**/*.json")]
    assert records and {record["status"] for record in records} == {"done"}


@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=gpu)])
def test_a_compiled_backbone_trains_as_the_plain_one(place, request):
    device = request.getfixturevalue("cuda") if place == "cuda" else CPU
    backend = "inductor" if place == "cuda" else "aot_eager"
    splits = datasets.create(SMALL_DIGITS).load()
    labels = PartialLabels.full(splits.train.labels)
    fits = []
    for compiled in (False, True):
        network, loss = (
            models.create("tiny").build(len(splits.classes), seed=0),
            defenses.create("an"),
        )
        loss.bind(Task(labels=labels))
        if compiled:
            network.backbone = torch.compile(network.backbone, backend=backend)
        train, val = (ImageInputs(s.images, PLAIN, device) for s in (splits.train, splits.val))
        recipe = Recipe(epochs=1, lr=1e-3, batch_size=20)
        found = fit(
            network, loss, train, val, labels, recipe, seed=0, device=device,
            validate=lambda scores: float(scores.mean()),
        )  # fmt: skip
        fits.append(found)
    plain, compiled = (each.epochs[0] for each in fits)
    close = 1e-5 if place == "cpu" else 0.05
    assert compiled.loss == pytest.approx(plain.loss, rel=close)


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 12), st.booleans(), st.booleans())
def test_maps_on_a_device_equal_those_of_the_cpu(seed, runs, images, ties, some):
    rng = np.random.default_rng(seed)
    shape = runs, images, 3
    scores = rng.integers(-2, 3, shape) if ties else rng.normal(size=shape)
    scores = scores.astype(np.float32) * rng.choice([-1, 1])  # negative zeros among them
    labels = rng.random(shape) < rng.choice([0, 0.3, 0.7, 1])
    scored = rng.random(shape) < 0.6 if some else None
    given_ = [None if a is None else torch.from_numpy(a) for a in (scores, labels, scored)]
    found = device_maps(*given_).numpy()
    np.testing.assert_allclose(
        found, mean_average_precisions(scores, labels, scored=scored), atol=1e-12
    )


def test_maps_are_computed_where_their_scores_are(device):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(5, 40, 3)).astype(np.float32), rng.random((5, 40, 3)) < 0.3
    found = maps_of(torch.from_numpy(scores).to(device), labels)
    np.testing.assert_allclose(found, mean_average_precisions(scores, labels), atol=1e-12)


def files(folder, count):
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    return FileImages(folder, [f"{number}.png" for number in range(count)])


def test_batches_come_in_order_however_many_threads_decode(device, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_MOST_DECODERS", 7)
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    monkeypatch.setattr(inputs, "_budget", lambda device: 1)
    images, batches = (
        files(tmp_path, 23),
        split_batches(np.random.default_rng(1).permutation(23), 5),
    )
    how = PLAIN._replace(size=8)
    here, there = (ImageInputs(images, how, place) for place in (CPU, device))
    for mine, theirs in zip(
        there.stream(batches, seed=3), here.stream(batches, seed=3), strict=True
    ):
        assert mine.device.type == device.type and torch.equal(mine.cpu(), theirs)


def test_images_of_strangers_are_read_by_one_thread(device, monkeypatch):
    asked = []
    monkeypatch.setattr(inputs, "decoding_threads", lambda where: asked.append(where) or 4)
    pixels = np.zeros((6, 4, 4), dtype=np.uint8)
    list(ImageInputs(ArrayImages(pixels), PLAIN, device).stream([np.arange(6)]))
    assert not asked


def test_features_that_stay_on_the_cpu_are_copied_by_batch(device):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    for resident in (True, False):
        given_ = FeatureInputs(values, device, resident=resident)
        assert (given_.features.device.type == "cpu") == (not resident)
        found = list(given_.stream([np.array([1, 2, 3]), np.array([5, 0])]))
        assert [batch.device.type for batch in found] == [device.type] * 2
        assert [b.tolist() for b in found] == [values[1:4].tolist(), values[[5, 0]].tolist()]


class Small(nn.Module):
    """A network that does not fit more than a few images at once."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen, self.head = most, [], nn.Linear(12, 3)

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.head(images.flatten(1))


@pytest.mark.parametrize("most", [1, 3, 5, 300])
def test_images_are_scored_as_memory_allows(most, monkeypatch):
    monkeypatch.setattr(loop, "EVALUATION_BATCH", 16)
    pixels = np.random.default_rng(0).integers(0, 255, (37, 2, 2), dtype=np.uint8)
    given_ = ImageInputs(ArrayImages(pixels), PLAIN, CPU)
    network = Small(300)
    whole = predict(network, given_)
    network.most, network.seen = most, []
    np.testing.assert_allclose(predict(network, given_), whole, atol=1e-6)
    assert sum(size > most for size in network.seen) <= 4  # it does not try again and again
    network.most = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        predict(network, given_)


def test_a_step_that_does_not_fit_says_what_to_do():
    pixels, loss = np.zeros((8, 2, 2), dtype=np.uint8), defenses.create("an")
    labels = PartialLabels.full(np.arange(24).reshape(8, 3) % 2 == 0)
    loss.bind(Task(labels=labels))
    given_ = ImageInputs(ArrayImages(pixels), PLAIN, CPU)
    how = {"seed": 0, "device": CPU, "validate": None}
    with pytest.raises(ParameterError, match=r"fit the memory of cpu.* 4 images.*--micro-batch"):
        recipe = Recipe(epochs=1, lr=0.1, batch_size=8, micro_batch=4)
        fit(Small(2), loss, given_, given_, labels, recipe, **how)


def test_copies_are_on_the_device(device):
    values = torch.arange(6).reshape(2, 3)
    assert to_device(values, CPU) is values
    there = to_device(values, device)
    assert there.device.type == device.type and torch.equal(there.cpu(), values)


@gpu
def test_convolutions_multiply_in_bfloat16_where_the_card_has_it(cuda):
    with reduced_precision(cuda):
        found = nn.Linear(4, 2).to(cuda)(torch.ones(1, 4, device=cuda)).dtype
    assert found == (
        torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    )


def test_settings_of_torch_are_given_back():
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.deterministic, cudnn.allow_tf32
    with torch_settings_kept():
        hardware.single_thread()
        assert (torch.get_num_threads(), cudnn.deterministic, cudnn.allow_tf32) == (1, True, False)
        cudnn.deterministic = False
    assert (torch.get_num_threads(), cudnn.deterministic, cudnn.allow_tf32) == before
