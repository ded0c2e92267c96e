"""Networks that were trained elsewhere: mAP and measures, and what is said where something lacks."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import labelattack
from labelattack import datasets, evaluate, models
from labelattack.errors import (
    DatasetError,
    LabelAttackError,
    LabelError,
    ModelError,
    ParameterError,
    UnknownNameError,
)
from labelattack.labels import PartialLabels
from labelattack.measures.d_score import DScoreSettings, d_score
from labelattack.measures.run import TrainedRun
from labelattack.models.base import Preprocessing
from labelattack.training.inputs import ImageInputs
from tests.conftest import SMALL_DIGITS

CPU = torch.device("cpu")
DRAW = np.random.Generator(np.random.PCG64(5))
LABELS = DRAW.random((30, 4)) < 0.4
IMAGES = DRAW.random((30, 3, 12, 12), dtype=np.float32)
D_SCORE = "d-score:grid=3,images=8,resamples=0"


class Theirs(nn.Module):
    """A classifier with names of its own, batch normalisation and dropout."""

    def __init__(self, labels=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.drop, self.out = nn.Dropout(), nn.Linear(6, labels)

    def forward(self, images):
        return self.out(self.drop(self.stem(images).mean((2, 3))))


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return Theirs()


@pytest.fixture(scope="module")
def digits():
    return datasets.create(SMALL_DIGITS).load()


def logits_of(network, images=IMAGES):
    with torch.inference_mode():
        return network.eval()(torch.as_tensor(images)).numpy()


def mean_ap(labels, scores):
    """As scikit-learn has it, over the classes that have a positive and a negative."""
    kept = [c for c in range(labels.shape[1]) if 0 < labels[:, c].sum() < len(labels)]
    return np.mean([average_precision_score(labels[:, c], scores[:, c]) for c in kept])


class Given(nn.Module):
    """Gives the logits that its images hold."""

    def forward(self, images):
        return images[:, 0, 0]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10**6))
def test_map_is_that_of_scikit_learn(images, classes, seed):
    draw = np.random.Generator(np.random.PCG64(seed))
    labels = draw.random((images, classes)) < 0.5
    labels[0], labels[1] = True, False
    scores = draw.normal(size=(images, 1, 1, classes)).astype(np.float32)
    found = evaluate(Given(), (scores, labels))
    assert found["map"] == pytest.approx(mean_ap(labels, scores[:, 0, 0]))


def test_unknown_labels_do_not_count(theirs):
    known = DRAW.random(LABELS.shape) < 0.7
    scores = logits_of(theirs)
    wanted = np.mean([average_precision_score(LABELS[known[:, c], c], scores[known[:, c], c])
                      for c in range(4)])  # fmt: skip
    coded = np.where(known, LABELS.astype(int), -1)
    assert evaluate(theirs, (IMAGES, coded), encoding="missing")["map"] == pytest.approx(wanted)
    partial = PartialLabels(LABELS, known)
    assert evaluate(theirs, (IMAGES, partial))["map"] == pytest.approx(wanted)


def test_every_way_of_giving_images_gives_one_result(theirs):
    images, labels = torch.tensor(IMAGES), torch.tensor(LABELS)
    pairs = TensorDataset(images, labels.int())
    ways = [(IMAGES, LABELS), (IMAGES, LABELS.tolist()), (IMAGES, pd.DataFrame(LABELS)),
            [images, labels.float()], (images.double(), LABELS.astype(int)),
            pairs, DataLoader(pairs, batch_size=7),
            ((images[n : n + 9], labels[n : n + 9]) for n in range(0, 30, 9))]  # fmt: skip
    found = [evaluate(theirs, way)["map"] for way in ways]
    assert found == [pytest.approx(mean_ap(LABELS, logits_of(theirs)))] * len(ways)


def test_pixels_are_taken_as_arrays_tensors_and_splits(theirs):
    pixels = DRAW.integers(0, 256, (30, 12, 12, 3)).astype(np.uint8)
    how = Preprocessing(None, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), flip=True)
    normal = (pixels / 255 - np.array(how.mean)) / np.array(how.std)
    wanted = mean_ap(LABELS, logits_of(theirs, np.moveaxis(normal, 3, 1).astype(np.float32)))
    first = torch.from_numpy(np.moveaxis(pixels, 3, 1).copy())
    for images in (pixels, first):
        found = evaluate(theirs, (images, LABELS), preprocessing=how)["map"]
        assert found == pytest.approx(wanted)


def test_a_networks_result_is_that_of_its_run(tmp_path, digits):
    results = labelattack.bench(
        datasets=[SMALL_DIGITS], defenses=["an"], seeds=1, epochs=1, lrs=[0.01], jobs=1,
        d_score="grid=3,images=8", measures=["calibration"], progress=False, reference=False,
        out=tmp_path / "store",
    )  # fmt: skip
    (record,) = results.records
    from labelattack.benchmark.store.store import RecordStore

    network = models.create("tiny").build(10, seed=0)
    network.load_state_dict(RecordStore(tmp_path / "store").weights(record.key))
    wanted = ["calibration", "d-score:grid=3,images=8"]
    found = evaluate(network, digits.test, wanted, preprocessing="tiny", classes=digits.classes)
    assert found.scores.map == pytest.approx(record.test.map)
    assert found.scores.per_class == pytest.approx(record.test.per_class)
    for name in ("calibration", "d-score"):
        ours, theirs = (o[name].model_dump() for o in (found.outcomes, record.outcomes))
        for metric in ("values", "attention", "features", "robustness"):
            assert ours.get(metric) == pytest.approx(theirs.get(metric), abs=1e-6)


def test_the_d_score_of_a_named_stage_is_that_of_the_function(theirs, digits):
    how = models.create("tiny").preprocessing
    test = digits.test.take(np.arange(20))
    network = Theirs(10)
    found = evaluate(network, test, ["d-score:resamples=0"], preprocessing=how, stage="stem")
    wanted = d_score(network, test, ImageInputs(test.images, how, CPU), stage="stem",
                     settings=DScoreSettings(resamples=0))  # fmt: skip
    assert found["d_score"] == pytest.approx(wanted.d_score)
    assert found.outcomes["d-score"].attention == pytest.approx(wanted.attention)


def test_images_of_the_network_are_enough_for_the_d_score(digits):
    """Normalised by hand or by preprocessing, they give one score."""
    how, test = models.create("tiny").preprocessing, digits.test.take(np.arange(20))
    (batch,) = ImageInputs(test.images, how, CPU).stream([np.arange(20)])
    network = models.create("tiny").build(10, seed=0)
    by_hand = evaluate(network, (batch, test.labels), [D_SCORE])
    assert dict(by_hand) == pytest.approx(dict(evaluate(network, test, [D_SCORE],
                                                        preprocessing=how)))  # fmt: skip


def test_labels_in_the_place_of_measures_are_refused(theirs):
    with pytest.raises(ParameterError, match="measures must be specs .* got a"):
        evaluate(theirs, IMAGES, LABELS)


def test_measures_of_pixels_take_pixels(digits):
    network = models.create("tiny").build(10, seed=0)
    asked = ["evasion:images=6,steps=1", "corruption:images=3", "f1:threshold=half"]
    found = evaluate(network, digits.test, asked, preprocessing="tiny")
    assert list(found) == ["map", "corruption", "evasion", "cf1", "of1"]
    assert all(0 <= value <= 1 for value in found.values())


def test_measures_of_training_take_what_is_given(theirs):
    train = (IMAGES[::-1].copy(), LABELS[::-1].copy())
    asked = ["recovery", "backdoor", "f1"]
    found = evaluate(theirs, (IMAGES, LABELS), asked, train=train, val=(IMAGES, LABELS),
                     attack="targeted:rate=0.4", seed=3)  # fmt: skip
    assert None not in found.values()
    left = labelattack.attacks.create("targeted:rate=0.4")(train[1], seed=3)
    again = evaluate(theirs, (IMAGES, LABELS), asked, train=train, val=(IMAGES, LABELS),
                     attack="targeted:rate=0.4", attacked=left)  # fmt: skip
    other = evaluate(theirs, (IMAGES, LABELS), asked, train=train, val=(IMAGES, LABELS),
                     attack="targeted:rate=0.4", seed=4)  # fmt: skip
    assert dict(found) == dict(again) != dict(other)


def test_the_network_is_left_as_it_is(theirs):
    theirs.train()
    theirs.stem[1].eval()
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    evaluate(theirs, (IMAGES, LABELS), [D_SCORE], stage="stem")
    assert theirs.training and theirs.drop.training and not theirs.stem[1].training
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    assert not any(module._forward_hooks for module in theirs.modules())
    with pytest.raises(LabelAttackError):
        evaluate(theirs, (IMAGES, LABELS), ["evasion"])
    assert theirs.training


def test_a_result_is_a_mapping_with_intervals(theirs):
    found = evaluate(theirs, (IMAGES, LABELS), ["calibration", "d-score"], stage="stem",
                     bootstrap=50)  # fmt: skip
    low, high = found.interval("map")
    assert low < found["map"] < high and found.interval("ece") is None
    table = found.to_dataframe().set_index("metric")
    assert list(table.index) == list(found) and table.low["map"] == low
    assert table.value["d_score"] == found["d_score"]
    assert repr(found).startswith(f"Evaluation(map={found['map']:.3f}, ece=")
    assert found.scores.per_class.keys() == {"0", "1", "2", "3"}
    with pytest.raises(KeyError):
        found["recall"]


# --- what lacks


@pytest.mark.parametrize(
    ("measure", "how", "message"),
    [
        ("d-score", {}, "measure 'd-score' needs the name of the module whose output is the last "
                        "map [batch, channels, height, width] before pooling; give stage=; the "
                        "last one that does is 'stem'"),
        ("recovery", {}, "measure 'recovery' needs the training images with their labels; give "
                         "train="),
        ("recovery", {"train": (IMAGES, LABELS)}, "give attack= and seed="),
        ("backdoor", {}, "measure 'backdoor' needs the training images with their labels; give "
                         "train="),
        ("evasion", {}, "measure 'evasion' needs pixels; give images in uint8, or a Split, and "
                        "preprocessing="),
        ("corruption", {}, "measure 'corruption' needs pixels"),
        ("f1", {}, "evaluate takes them as val="),
        ("recovery", {"train": (IMAGES, LABELS), "attack": "random", "attacked": LABELS},
         "attacked must be PartialLabels of the shape of the training labels, (30, 4), got "
         "ndarray (30, 4)"),
    ],
)  # fmt: skip
def test_what_a_measure_lacks_is_named_with_its_argument(theirs, measure, how, message):
    with pytest.raises(ParameterError) as said:
        evaluate(theirs, (IMAGES, LABELS), [measure], **how)
    assert message in str(said.value)


@pytest.mark.parametrize(
    ("stage", "kind", "message"),
    [
        ("sten", UnknownNameError, "did you mean 'stem'"),
        ("out", ModelError, "got [1, 4]; the last one that has is 'stem'"),
    ],
)
def test_stages_are_checked(theirs, stage, kind, message):
    with pytest.raises(kind) as said:
        evaluate(theirs, (IMAGES, LABELS), ["d-score"], stage=stage)
    assert message in str(said.value)


@pytest.mark.parametrize(
    ("data", "how", "kind", "message"),
    [
        (3, {}, DatasetError, "test must be a Split, a pair of images and labels, or a loader"),
        ((IMAGES, [[1], [1, 0]]), {}, DatasetError, "labels of test must be an array, with rows of"),
        (([[1], [1, 0]], LABELS), {}, DatasetError, "images of test must be an array, with rows of"),
        ((IMAGES[:5], LABELS), {}, DatasetError, "as many images as labels"),
        ((IMAGES.astype(int), LABELS), {}, DatasetError, "got int64 (30, 3, 12, 12)"),
        ((IMAGES[:, 0], LABELS), {}, DatasetError, "got float32 (30, 12, 12)"),
        ((IMAGES, 2 * LABELS), {}, LabelError, "must be one of 1, 0, got 2"),
        ((IMAGES, LABELS[:, :3]), {}, ModelError, "logits [images, labels] [30, 3], got [30, 4]"),
        ((IMAGES, np.zeros_like(LABELS)), {}, DatasetError, "must have a positive that counts"),
        ((IMAGES, LABELS), {"classes": ["a"]}, DatasetError, "must have 1 columns, got 4"),
        ((IMAGES, LABELS), {"measures": ["f2"]}, UnknownNameError, "did you mean 'f1'"),
        (iter([]), {}, DatasetError, "test must yield at least one batch, got none"),
        (iter([3]), {}, DatasetError, "test must yield pairs of images and labels, got 'int'"),
        (iter([(IMAGES, LABELS[:2])]), {}, DatasetError, "with a row of labels for each"),
        ((np.zeros((30, 4, 4, 3), np.uint8), LABELS), {}, ParameterError,
         "preprocessing must say how pixels become the network's input, got none"),
    ],
)  # fmt: skip
def test_data_of_another_kind_are_refused(theirs, data, how, kind, message):
    with pytest.raises(kind) as said:
        evaluate(theirs, data, **how)
    assert message in str(said.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(5, 4), "must map a batch of images to a tensor of logits, but raised Runtime"),
        (nn.Sequential(Theirs(), nn.LSTM(4, 4)), "must map a batch of images to a tensor"),
        (nn.Sequential(Theirs(), nn.Threshold(1e9, float("nan"))), "must give finite logits"),
    ],
)
def test_networks_without_logits_are_refused(network, message):
    with pytest.raises(ModelError, match=message):
        evaluate(network, (IMAGES, LABELS))


def test_probabilities_bring_a_warning(theirs):
    with pytest.warns(UserWarning, match="must give logits, got numbers from 0 to 1"):
        found = evaluate(nn.Sequential(theirs, nn.Sigmoid()), (IMAGES, LABELS))
    assert found["map"] == pytest.approx(mean_ap(LABELS, logits_of(theirs)))


# --- the page and the command


def test_the_page_on_own_networks_runs(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "your-network.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, names)
    assert next(iter(names["result"])) == "map" and len(page.splitlines()) <= 90


def test_scoring_a_file_gives_the_map_of_its_network(tmp_path, told, digits):
    network = models.create("tiny").build(10, seed=4)
    torch.save({"model." + k: v for k, v in network.state_dict().items()}, tmp_path / "w.pt")
    code, out, _ = told("score", "w.pt", "--dataset", SMALL_DIGITS, "--model", "tiny", "--json",
                        "--d-score", "images=8", "--grid", "0")  # fmt: skip
    (found,) = json.loads(out)
    wanted = evaluate(network, digits.test, ["d-score:images=8"], preprocessing="tiny")
    assert code == 0 and found["test"]["map"] == pytest.approx(wanted["map"])
    assert found["diagnosis"]["d_score"] == pytest.approx(wanted["d_score"])


def test_measures_of_runs_see_what_they_saw(digits):
    """The hooks that own networks override give the same of registered models."""
    spec = models.registry.resolve("tiny")
    network = models.create("tiny").build(10, seed=0)
    run = TrainedRun(digits, spec, "finetune", trained=network)
    assert run.staged() == (run.network, "backbone")
    assert run.preprocessing == models.create("tiny").preprocessing
    assert len(run.inputs(digits.val)) == len(digits.val)
