"""ART's contract for estimators and poisoning attacks, and its attacks on multi-label models."""

import os
import re
import runpy
import subprocess
import sys
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from labelattack import attacks, defenses
from labelattack.errors import DefenseError, LabelAttackError, LabelError, UnknownNameError
from labelattack.interop.art import LabelRemoval, MultiLabelClassifier
from labelattack.testing.attacks import example_knowledge

# isort: split
from art.attacks.attack import Attack, PoisoningAttack, PoisoningAttackBlackBox
from art.attacks.evasion import (
    BasicIterativeMethod,
    DeepFool,
    FastGradientMethod,
    HopSkipJump,
    ProjectedGradientDescent,
    SpatialTransformation,
    SquareAttack,
)
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import FeatureSqueezing, SpatialSmoothing
from art.estimators import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
from art.estimators.pytorch import PyTorchEstimator
from art.exceptions import EstimatorError

SHAPE, LABELS = (3, 8, 8), 4
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Softplus(), nn.Flatten()),
            nn.Linear(8 * 64, LABELS),
        )


def estimator(model=None, **changes):
    model = model or network()
    given = {
        "loss": "an",
        "input_shape": SHAPE,
        "nb_classes": LABELS,
        "optimizer": None if model == "resnet" else torch.optim.Adam(model.parameters(), lr=1e-2),
        "clip_values": (0.0, 1.0),
        "preprocessing": (MEAN, STD),
        "device_type": "cpu",
    }
    return MultiLabelClassifier(model, **(given | changes))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.random((80, *SHAPE), dtype=np.float32)
    y = (x[:, 0, :4, :4].mean(2) > 0.5).astype(np.float32)  # each label is a row of one channel
    y[0] = 0
    return x, y


@pytest.fixture(scope="module")
def trained(data):
    found = estimator()
    found.fit(*data, batch_size=16, nb_epochs=40)
    return found


def reference(model, x):
    """Logits by torch alone."""
    images = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return deepcopy(model).eval().double()(images)


# Importing


TRACES = """
import logging, os, sys
logging.basicConfig(filename=sys.argv[1], level=logging.INFO)
before = list(logging.root.handlers), dict(logging.Logger.manager.loggerDict)
import labelattack, labelattack.cli
for name in labelattack.__all__:
    getattr(labelattack, name)
assert "art" not in sys.modules
from labelattack.interop.art import MultiLabelClassifier
import art
from art import config
assert art.config is config and art.config is sys.modules["art.config"]
assert logging.root.handlers == before[0] and logging.root.level == logging.INFO
assert not before[0][0].stream.closed
logging.getLogger("mine").info("still here")
art.config.set_data_path(config.ART_DATA_PATH)
print(config.ART_DATA_PATH)
"""


@pytest.mark.parametrize("chosen", [True, False])
def test_importing_leaves_home_and_logging_alone(tmp_path, chosen):
    home, cache, log = tmp_path / "home", tmp_path / "cache", tmp_path / "log"
    home.mkdir()
    env = os.environ | {"HOME": str(home), "LABELATTACK_CACHE": str(cache)}
    env |= {"MPLCONFIGDIR": str(tmp_path / "mpl")} | (
        {"ART_DATA_PATH": str(log) + "s"} if chosen else {}
    )
    ran = subprocess.run(
        [sys.executable, "-c", TRACES, log], env=env, capture_output=True, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr
    assert list(home.iterdir()) == []
    assert "still here" in log.read_text()
    assert ran.stdout.strip() == (f"{log}s" if chosen else str(cache / "art"))


def test_who_has_a_configuration_of_art_keeps_it(tmp_path):
    (tmp_path / ".art").mkdir()
    (tmp_path / ".art/config.json").write_text(f'{{"ART_DATA_PATH": "{tmp_path / "mine"}"}}')
    code = "import labelattack.interop.art; from art import config; print(config.ART_DATA_PATH)"
    env = os.environ | {"HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8"
    )
    assert ran.stdout.strip() == str(tmp_path / "mine"), ran.stderr


@pytest.mark.parametrize("there", [True, False])
def test_without_art_it_says_so(tmp_path, there):
    if there:  # the package of that name on PyPI draws letters
        (tmp_path / "art").mkdir()
        (tmp_path / "art/__init__.py").write_text("")
    hide = "" if there else "import importlib.util as u; u.find_spec = lambda name: None; "
    code = f"{hide}import labelattack.interop.art"
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8"
    )
    told = f"got another package of that name in '{tmp_path / 'art'}'" if there else "got nothing"
    assert ran.returncode and told in ran.stderr


# Poisoning


@pytest.mark.parametrize("name", sorted({*attacks.registry.names()} - {"mask"}))
@pytest.mark.parametrize("encoding", ["missing", "signed", "nan"])
def test_every_attack_is_a_poisoning_attack(name, encoding, data):
    x, y = data
    known = example_knowledge(*y.shape)
    attack = LabelRemoval(name, seed=3, knowledge=known, encoding=encoding)
    assert isinstance(attack, PoisoningAttackBlackBox | PoisoningAttack) and isinstance(
        attack, Attack
    )
    before = y.copy()
    same, poisoned = attack.poison(x, y)
    assert same is x and np.array_equal(y, before)
    left = attacks.create(name)(y == 1, seed=3, knowledge=known)
    code = {"missing": (1, 0, -1), "signed": (1, -1, 0), "nan": (1, 0, np.nan)}[encoding]
    expected = np.select([left.positives, left.negatives], code[:2], code[2])
    assert np.array_equal(poisoned, expected, equal_nan=True)
    itself = LabelRemoval(attacks.create(name), seed=3, knowledge=known, encoding=encoding)
    _, itself = itself.poison(x, y)
    assert np.array_equal(itself, poisoned, equal_nan=True)


def test_poisoning_attacks_keep_arts_contract():
    attack = LabelRemoval("targeted:rate=0.4")
    for name in LabelRemoval.attack_params:
        assert hasattr(attack, name) and name in repr(attack)
    assert attack.estimator is None and attack.estimator_requirements == ()
    attack.set_params(attack="random:rate=0.2", seed=5, encoding="signed")
    assert (attack.attack, attack.seed, attack.encoding) == ("random:rate=0.2", 5, "signed")
    for wrong in ({"rate": 1}, {"attack": "targetted"}, {"attack": 3}, {"seed": -1}, {"seed": "a"}):
        with pytest.raises(ValueError):
            LabelRemoval("targeted").set_params(**wrong)
    for wrong in ({"attack": "targeted:rate=1.4"}, {"attack": "none", "encoding": "sined"}):
        with pytest.raises(ValueError):
            LabelRemoval(**wrong)


def test_wrong_input_to_poison():
    with pytest.raises(UnknownNameError, match="did you mean 'targeted'"):
        LabelRemoval("targetted")
    for x, y in (
        (np.zeros(1), None),
        (np.zeros(2), np.array([1, 2])),
        (np.zeros(2), np.full((2, 3), 0.5)),
        (np.zeros(2), np.zeros((3, 3))),
    ):
        with pytest.raises(LabelError, match="must"):
            LabelRemoval("none").poison(x, y)


# The estimator: ART's contract


def test_the_estimator_is_what_art_asks_for():
    found = estimator()
    bases = (BaseEstimator, NeuralNetworkMixin, LossGradientsMixin, ClassGradientsMixin)
    assert isinstance(found, PyTorchEstimator) and all(isinstance(found, base) for base in bases)
    # Not a classifier of one class an image: see its docstring.
    assert not isinstance(found, ClassifierMixin)
    assert found.input_shape == SHAPE and found.nb_classes == LABELS and found.channels_first
    assert found.clip_values.dtype == np.float32 and found.device.type == found.device_type == "cpu"
    assert "MultiLabelClassifier(" in repr(found) and found.layer_names[0] == "0"


def test_every_parameter_can_be_read_and_set():
    found, other = estimator(), network(1)
    params = found.get_params()
    assert set(params) == set(MultiLabelClassifier.estimator_params)
    values = {
        "model": other,
        "clip_values": (0.0, 2.0),
        "preprocessing_defences": FeatureSqueezing((0.0, 1.0)),
        "postprocessing_defences": Rounded(),
        "preprocessing": (0.5, 2.0),
        "channels_first": False,
        "device_type": "cpu",
        "loss": "role:expected_positives=2",
        "input_shape": (1, 2, 2),
        "nb_classes": 7,
        "optimizer": torch.optim.SGD(other.parameters()),
        "encoding": "signed",
        "objective": "margin",
    }
    assert set(values) == set(params)
    for name, value in values.items():
        found.set_params(**{name: value})
        now = found.get_params()[name]
        if name == "clip_values":
            assert now.tolist() == [0, 2]
        elif name == "preprocessing":
            assert (now.mean, now.std) == (0.5, 2)
        elif name.endswith("defences"):
            assert now == [value]
        else:
            assert now is value
    assert len(found.preprocessing_operations) == 2
    found.set_params(device_type="meta")
    assert found.device == torch.device("meta") == next(found.model.parameters()).device


@pytest.mark.parametrize(
    "wrong",
    [
        {"nb_classes": 0}, {"nb_classes": 2.5}, {"input_shape": 8}, {"loss": "am"},
        {"loss": nn.BCEWithLogitsLoss()}, {"optimizer": "adam"}, {"encoding": "sined"}, {"objective": "marge"},
        {"clip_values": (1, 0)}, {"clip_values": (0, 1, 2)}, {"preprocessing": "mean"},
        {"model": "resnet"}, {"device_type": "tpu:0"},
    ],
)  # fmt: skip
def test_wrong_parameters_are_value_errors(wrong):
    with pytest.raises(ValueError):
        estimator(**{"model": network()} | wrong)
    if "preprocessing" not in wrong:
        with pytest.raises(ValueError):
            estimator().set_params(**wrong)
    with pytest.raises(ValueError):
        estimator().set_params(nonsense=1)


def test_attacks_on_one_class_an_image_are_refused(trained):
    with pytest.raises(EstimatorError, match="ClassifierMixin"):
        HopSkipJump(trained)
    with pytest.raises(EstimatorError):
        FastGradientMethod("no estimator")


# Its numbers


def test_predictions_are_the_models_logits(trained, data):
    x, _ = data
    expected = reference(trained.model, torch.from_numpy(x)).detach().numpy()
    found = trained.predict(x)
    assert found.dtype == np.float32 and found.shape == (80, LABELS)
    assert np.allclose(found, expected, atol=1e-5)
    for size in (1, 7, 80):
        assert np.allclose(trained.predict(x, batch_size=size), found, atol=1e-6)
    assert trained.predict(x[:0]).shape == (0, LABELS)
    assert np.array_equal(trained.predict((255 * x).astype(np.uint8)).shape, found.shape)


def test_loss_and_its_gradient_are_those_of_autograd(trained, data):
    x, y = data
    raw = torch.from_numpy(x).double().requires_grad_()
    each = binary_cross_entropy_with_logits(
        reference(trained.model, raw), torch.from_numpy(y).double(), reduction="none"
    ).mean(1)
    each.sum().backward()
    assert np.allclose(trained.compute_loss(x, y), each.detach(), atol=1e-6)
    assert np.isclose(trained.compute_loss(x, y, "mean"), each.mean().item(), atol=1e-6)
    assert np.isclose(trained.compute_loss(x, y, "sum"), each.sum().item(), atol=1e-4)
    found = trained.loss_gradient(x, y)
    assert found.dtype == np.float32 and np.allclose(found, raw.grad, atol=1e-6)
    assert raw.grad.abs().max() > 1e-3
    # Each image has its own gradient, whatever else is in the batch.
    assert np.allclose(trained.loss_gradient(x[5:6], y[5:6]), found[5:6], atol=1e-6)
    as_tensor = trained.loss_gradient(torch.from_numpy(x), torch.from_numpy(y))
    assert isinstance(as_tensor, torch.Tensor) and np.allclose(as_tensor, found)
    # And against finite differences.
    moved = x.astype(np.float64)
    moved[:, 1, 3, 3] += 1e-2
    slope = (trained.compute_loss(moved, y) - trained.compute_loss(x, y)) / 1e-2
    assert np.allclose(slope, found[:, 1, 3, 3], atol=5e-4)


def test_the_margin_is_that_of_ranks(trained, data):
    x, y = data
    ranked = estimator(trained.model, objective="margin")
    raw = torch.from_numpy(x).double().requires_grad_()
    logits, present = reference(trained.model, raw), torch.from_numpy(y) > 0
    each = torch.stack([
        (z[~p].mean() if (~p).any() else 0) - (z[p].mean() if p.any() else 0)
        for z, p in zip(logits, present, strict=True)
    ])  # fmt: skip
    each.sum().backward()
    assert np.allclose(ranked.compute_loss(x, y), each.detach(), atol=1e-5)
    assert np.allclose(ranked.loss_gradient(x, y), raw.grad, atol=1e-5)
    assert not present.any(1).all()  # a row without labels is among them


def test_targets_are_multi_hot_in_any_type_or_logits(trained, data):
    x, y = data
    found = trained.loss_gradient(x, y)
    for same in (y.astype(bool), y.astype(np.int64), y * 0.25, np.where(y > 0, 3.5, -2.5)):
        assert np.array_equal(trained.loss_gradient(x, same), found)
    for wrong in (y[:, :2], y[:3], y.argmax(1), np.where(y > 0, np.nan, 0)):
        with pytest.raises(LabelError, match="multi-hot"):
            trained.loss_gradient(x, wrong)


def test_class_gradients_are_those_of_autograd(trained, data):
    x, _ = data
    raw = torch.from_numpy(x[:6]).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: reference(trained.model, z).sum(0), raw)
    expected = jacobian.movedim(0, 1).numpy()
    found = trained.class_gradient(x[:6])
    assert found.shape == (6, LABELS, *SHAPE) and np.allclose(found, expected, atol=1e-5)
    assert np.allclose(trained.class_gradient(x[:6], 2), expected[:, 2:3], atol=1e-5)
    chosen = [0, 3, 1, 1, 2, 0]
    each = expected[np.arange(6), chosen][:, None]
    assert np.allclose(trained.class_gradient(x[:6], chosen), each, atol=1e-5)
    for wrong in (LABELS, -1, [0, 1], 1.5, [0, 1, 2, 3, 4, 0]):
        with pytest.raises(ValueError, match="label must be"):
            trained.class_gradient(x[:6], wrong)


def test_gradients_go_through_preprocessing_that_is_not_torchs(data):
    x, y = data
    model = network()
    smooth = estimator(model, preprocessing_defences=SpatialSmoothing(3, channels_first=True))
    plain = estimator(model)
    assert not smooth.all_framework_preprocessing
    smoothed, _ = SpatialSmoothing(3, channels_first=True)(x)
    assert np.allclose(smooth.predict(x), plain.predict(smoothed), atol=1e-5)
    # ART's estimate: the gradient behind the smoothing, taken as it is through it.
    assert np.allclose(smooth.loss_gradient(x, y), plain.loss_gradient(smoothed, y), atol=1e-5)
    rounded = estimator(model, postprocessing_defences=Rounded(2))
    assert np.allclose(rounded.predict(x), plain.predict(x).round(2), atol=1e-6)


def test_it_leaves_the_mode_that_was_asked_for(data):
    x, y = data
    found = estimator()
    before = deepcopy(found.model.state_dict())
    found.predict(x), found.loss_gradient(x, y), found.class_gradient(x)
    assert not found.model.training
    assert all(torch.equal(v, before[k]) for k, v in found.model.state_dict().items())
    assert all(p.grad is None for p in found.model.parameters())
    found.predict(x, training_mode=True)
    assert found.model.training


# Training


def test_fit_is_the_step_that_torch_makes(data):
    x, y = data
    model = network()
    by_hand = deepcopy(model)
    found = estimator(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), loss="bce")
    found.fit(x, y, batch_size=len(x), nb_epochs=1)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    images = (torch.from_numpy(x) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    binary_cross_entropy_with_logits(
        by_hand.train()(images.float()), torch.from_numpy(y)
    ).backward()
    optimizer.step()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


TOLD_MORE = {"gpr", "iun", "vlpl"}  # scores, or labels from before the attack


@pytest.mark.parametrize("name", sorted(TOLD_MORE))
def test_losses_that_need_more_than_labels_say_so(name, data):
    with pytest.raises(DefenseError, match=f"defense '{name}' needs"):
        estimator(loss=f"{name}:expected_positives=2" if name == "gpr" else name).fit(*data)


def test_epochs_of_a_loss_end(data):
    x, y = data
    loss = defenses.create("em-apl:warmup=1,theta=1")
    _, poisoned = LabelRemoval("targeted:rate=0.3").poison(x, y)
    estimator(loss=loss).fit(x, poisoned, nb_epochs=3)
    hidden = torch.from_numpy(poisoned == -1)
    assert ((loss.soft >= 0) == hidden).all()  # all are chosen by the end, and no other


@pytest.mark.parametrize("name", sorted(set(defenses.registry.names()) - TOLD_MORE))
def test_it_trains_with_every_defense(name, data):
    x, y = data
    declared = {
        p.name for d in defenses.registry.declarations() if d.name == name for p in d.parameters
    }
    spec = f"{name}:expected_positives=2" if "expected_positives" in declared else name
    _, poisoned = LabelRemoval("targeted:rate=0.3").poison(x, y)
    found = estimator(loss=spec)
    before = deepcopy(found.model.state_dict())
    groups = len(found.optimizer.param_groups)
    found.fit(x, poisoned, batch_size=32, nb_epochs=2, seed=1)
    assert any(not torch.equal(v, before[k]) for k, v in found.model.state_dict().items())
    # What a loss learns itself is not left behind in the optimizer.
    assert len(found.optimizer.param_groups) == groups
    assert set(found.optimizer.state) == set(found.model.parameters())


def test_a_loss_may_be_given_as_it_is(data):
    x, y = data
    by_name, by_itself = (estimator(loss=of) for of in ("epr:expected_positives=2", "an"))
    by_itself.set_params(loss=defenses.create("epr:expected_positives=2"))
    for found in (by_name, by_itself):
        found.fit(x, y, batch_size=16, nb_epochs=2)
        found.fit(x[:40], y[:40], nb_epochs=1)  # other images, bound anew
    assert np.array_equal(by_name.predict(x), by_itself.predict(x))


def test_fit_reads_hidden_labels_as_hidden(data, monkeypatch):
    x, y = data
    seen = []
    loss = type(defenses.create("an"))
    monkeypatch.setattr(loss, "bind", lambda self, task: seen.append(task.labels))
    found = estimator()
    _, poisoned = LabelRemoval("random:rate=0.5", seed=2).poison(x, y)
    found.fit(x, poisoned, nb_epochs=1)
    found.fit(x, y, nb_epochs=1)
    assert seen[0] == attacks.create("random:rate=0.5")(y == 1, seed=2)
    assert not seen[1].hidden.any() and np.array_equal(seen[1].values, y == 1)


def test_fit_says_what_it_cannot_do(data):
    x, y = data
    with pytest.raises(ValueError, match="needs an optimizer"):
        estimator(optimizer=None).fit(x, y)
    with pytest.raises(LabelError, match="must have shape"):
        estimator().fit(x, y[:, :2])
    with pytest.raises(LabelError, match="must be one of 1, 0, -1"):
        estimator().fit(x, y * 2)
    with pytest.raises(DefenseError, match="expected number of positives"):
        estimator(loss="role").fit(x, y)


def test_clone_save_and_activations(trained, data, tmp_path):
    x, y = data
    fresh = trained.clone_for_refitting()
    assert fresh.model is not trained.model and fresh.optimizer is not trained.optimizer
    first, other = (e.model.state_dict()["0.weight"] for e in (fresh, trained))
    assert not torch.equal(first, other)
    fresh.fit(x, y, nb_epochs=1)
    with pytest.raises(ValueError, match="needs an optimizer"):
        estimator(optimizer=None).clone_for_refitting()
    trained.save("there", str(tmp_path / "new"))
    state = torch.load(tmp_path / "new/there.model", weights_only=True)
    assert all(torch.equal(v, state[k]) for k, v in trained.model.state_dict().items())
    assert (tmp_path / "new/there.optimizer").is_file()
    outputs = trained.get_activations(x, "4", batch_size=30)
    assert np.allclose(outputs, trained.predict(x), atol=1e-6)
    graph = trained.get_activations(x, 0, framework=True)
    assert graph.requires_grad and graph.shape == (80, 8, 8, 8)
    for wrong in ("5", 9, -1):
        with pytest.raises(ValueError, match="layer must be one of"):
            trained.get_activations(x, wrong)


# ART's attacks on it


EPS = 0.05


@pytest.mark.parametrize(
    ("attack", "norm", "radius"),
    [
        (lambda e: FastGradientMethod(e, eps=EPS), np.inf, EPS),
        (lambda e: BasicIterativeMethod(e, eps=EPS, eps_step=0.01, max_iter=10, verbose=False), np.inf, EPS),
        (lambda e: ProjectedGradientDescent(e, eps=EPS, eps_step=0.01, max_iter=10, verbose=False), np.inf, EPS),
        (lambda e: ProjectedGradientDescent(e, 2, 10 * EPS, 0.1, max_iter=10, verbose=False), 2, 10 * EPS),
        (
            lambda e: SquareAttack(
                e,
                adv_criterion=lambda scores, y: np.zeros(len(y), dtype=bool),
                loss=lambda x, y: -e.compute_loss(x, y),
                max_iter=100,
                eps=4 * EPS,
                verbose=False,
            ),
            np.inf,
            4 * EPS,
        ),
    ],
    ids=["FGSM", "BIM", "PGD-linf", "PGD-l2", "Square"],
)  # fmt: skip
def test_attacks_lower_map_within_their_ball(attack, norm, radius, trained, data):
    x, y = data
    np.random.seed(0)  # noqa: NPY002  # ART draws from it
    before = x.copy()
    moved = attack(trained).generate(x, y)
    assert np.array_equal(x, before) and moved.shape == x.shape
    assert moved.min() >= 0 and moved.max() <= 1
    length = np.linalg.norm((moved - x).reshape(len(x), -1), ord=norm, axis=1)
    assert (length <= radius * (1 + 1e-5)).all() and length.max() > 0.9 * radius
    clean, robust = (average_precision_score(y, trained.predict(z)) for z in (x, moved))
    assert robust < clean - 0.02
    assert (trained.compute_loss(moved, y) >= trained.compute_loss(x, y) - 1e-6).mean() > 0.95


def test_attacks_without_labels_keep_to_what_the_model_says(trained, data):
    x, _ = data
    attack = ProjectedGradientDescent(trained, eps=EPS, eps_step=0.02, max_iter=5, verbose=False)
    said = (trained.predict(x) > 0).astype(np.float32)
    assert np.array_equal(attack.generate(x), attack.generate(x, said))


def test_map_under_pgd_falls_with_the_radius(trained, data):
    x, y = data
    maps = []
    for eps in (0.0, 0.01, 0.02, 0.04, 0.08, 0.16):
        attack = ProjectedGradientDescent(
            trained, eps=eps, eps_step=max(eps / 4, 1e-6), max_iter=10, verbose=False
        )
        moved = attack.generate(x, y)
        assert np.abs(moved - x).max() <= eps * (1 + 1e-5)
        maps.append(average_precision_score(y, trained.predict(moved)))
    assert maps[0] == average_precision_score(y, trained.predict(x))
    assert all(after <= before + 0.01 for before, after in pairwise(maps)), maps
    assert maps[-1] < maps[0] - 0.1


def test_attacks_on_outputs_run(trained, data):
    x, y = data
    moved = SpatialTransformation(
        trained, max_translation=20, num_translations=3, max_rotation=10, num_rotations=3,
        verbose=False,
    ).generate(x, y)  # fmt: skip
    assert average_precision_score(y, trained.predict(moved)) < 1
    assert np.isfinite(DeepFool(trained, max_iter=3, verbose=False).generate(x[:4])).all()


def test_labels_that_are_rare_or_absent_are_no_trouble(trained, data):
    x, _ = data
    with np.errstate(all="raise"):
        moved = FastGradientMethod(trained, eps=EPS).generate(x, np.zeros((80, LABELS)))
    assert np.abs(moved - x).max() > 0.9 * EPS


def test_errors_are_both_ours_and_pythons():
    with pytest.raises(LabelAttackError):
        estimator(loss="am")


def test_the_example_runs(pytestconfig, capsys):
    path = pytestconfig.rootpath / "examples/art_pipeline.py"
    lines = path.read_text().splitlines()
    ours = [n for n, line in enumerate(lines) if "labelattack" in line and "import" in line]
    theirs = [n for n, line in enumerate(lines) if re.match(r"(from|import) art\b", line)]
    assert len(ours) == 1 and ours < theirs  # as whatever imports ART first leaves traces
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    scores = dict(line.split(" mAP: ") for line in said if " mAP: " in line)
    assert float(scores["clean"]) > 85 and float(scores["robust"]) < float(scores["clean"]) - 20
