"""The public contract checks, over everything that is registered."""

import importlib

import pytest

from labelattack import attacks, corruptions, datasets, defenses, measures, models, mutations
from labelattack.cli.list import KINDS as LISTED
from labelattack.errors import PluginError, UnknownNameError
from labelattack.testing import (
    attack_checks,
    check_plugin,
    corruption_checks,
    dataset_checks,
    defense_checks,
    measure_checks,
    model_checks,
    mutation_checks,
)
from labelattack.testing.plugins import check_files
from tests.conftest import SMALL_DIGITS

BUILT_IN = "built-in"


def names(registry):
    return [d.name for d in registry.declarations() if d.origin == BUILT_IN]


QUICK = {
    "d-score": "d-score:images=10,grid=3",
    "evasion": "evasion:steps=2,images=10",
    "corruption": "corruption:images=6",
}
MODELS = {
    "tiny": "tiny",
    "timm": "timm:name=test_vit,weights=none,size=32",
    "torchvision": "torchvision:name=shufflenet_v2_x0_5,weights=none,size=64",
}
CHECKS = [
    *(c for name in names(attacks.registry) if name != "mask" for c in attack_checks(name)),
    *(
        c
        for spec in ("targeted:scope=image", "targeted:keep_negatives=true", "random:scope=image")
        for c in attack_checks(spec)
    ),
    *(c for name in names(defenses.registry) for c in defense_checks(name)),
    *(c for name in names(corruptions.registry) for c in corruption_checks(name)),
    *(c for name in names(mutations.registry) for c in mutation_checks(name)),
    *(c for name in names(measures.registry) for c in measure_checks(QUICK.get(name, name))),
    *dataset_checks(SMALL_DIGITS),
    *(
        c
        for name in names(models.registry)
        for c in model_checks(MODELS.get(name, f"{name}:weights=none,size=64"))
    ),
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_contract(check):
    check()


def test_every_component_is_documented():
    for kind in (attacks, corruptions, defenses, datasets, models, mutations):
        registry = kind.registry
        for declaration in registry.declarations():
            if declaration.origin == BUILT_IN:
                assert declaration.summary and declaration.source, declaration.name
                for parameter in declaration.parameters:
                    assert parameter.doc, f"{declaration.name}: {parameter.name}"


def test_list_shows_every_kind_with_its_parameters():
    for package in LISTED.values():
        declarations = importlib.import_module(package).registry.declarations()
        assert declarations, package
        for declaration in declarations:
            if declaration.origin == BUILT_IN:
                assert declaration.summary, declaration.name
                assert all(p.doc for p in declaration.parameters), declaration.name


EXAMPLES = (
    "my_attack.py", "my_removal.py", "my_informed_attack.py", "my_loss.py", "my_measure.py",
)  # fmt: skip
LONGER = "my_dataset.py", "my_stateful_loss.py"


@pytest.mark.parametrize("example", [*EXAMPLES, *LONGER])
def test_examples_are_short_and_keep_the_contract(example, pytestconfig):
    path = pytestconfig.rootpath / "examples" / example
    assert len(path.read_text().splitlines()) <= (40 if example in LONGER else 20)
    for check in check_plugin(str(path)):
        check()


BROKEN = '''
from dataclasses import dataclass
import torch
from labelattack import LabelAttack, LabelCorruption, PartialLabelLoss, attacks, defenses
from labelattack.attacks.removal import InformedRemoval

@attacks.register("unseeded")
@dataclass(frozen=True, kw_only=True)
class Unseeded(LabelAttack):
    """Ignores its generator."""
    def observe(self, labels, rng):
        import numpy as np
        return np.random.random(labels.shape) < 0.5

@attacks.register("hiding-corruption")
@dataclass(frozen=True, kw_only=True)
class HidingCorruption(LabelCorruption):
    """Hides a label."""
    def _attacked(self, labels, knowledge, rng):
        return labels.keep(labels.known_values)
    def flip(self, labels, knowledge, rng):
        return labels.known_values

@attacks.register("undeclared")
@dataclass(frozen=True, kw_only=True)
class Undeclared(InformedRemoval):
    """Reads what it does not declare."""
    needs = ("groups",)
    def priority(self, labels, knowledge, rng):
        return knowledge.scores[labels.positive_entries()]

@attacks.register("not-nested")
@dataclass(frozen=True, kw_only=True)
class NotNested(LabelAttack):
    """Removes other labels at each rate."""
    rate: float = 0.5
    def observe(self, labels, rng):
        import numpy as np
        return np.arange(labels.size).reshape(labels.shape) % 10 >= 9 * self.rate \
            if self.rate < 0.7 else np.arange(labels.size).reshape(labels.shape) % 2 == 0

@defenses.register("known-only")
class KnownOnly(PartialLabelLoss):
    """Infinite without negatives."""
    def loss(self, logits, step):
        return logits.sum() / step.negatives.sum()
'''


def test_checks_can_fail(tmp_path):
    path = tmp_path / "broken_pair.py"
    path.write_text(BROKEN)
    failed = set()
    for check in check_plugin(str(path)):
        try:
            check()
        except PluginError:
            failed.add(str(check))
    assert "unseeded: is deterministic" in failed
    assert "known-only: accepts every attack" in failed
    assert "hiding-corruption: hides or changes" in failed
    assert "undeclared: is deterministic" in failed
    assert "not-nested: budgets are nested" in failed
    for name in ("unseeded", "hiding-corruption", "undeclared", "not-nested"):
        del attacks.registry._classes[name]
    del defenses.registry._classes["known-only"]


KINDS = '''
"""A dataset that must be told where it lies, and a model."""
from dataclasses import dataclass
from labelattack import datasets, models
from labelattack.datasets.digits import Digits
from labelattack.models.tiny import Tiny

@datasets.register("told-digits")
@dataclass(frozen=True, kw_only=True)
class ToldDigits(Digits):
    """Digits of a place that has no default."""
    place: str

@models.register("told-tiny")
@dataclass(frozen=True, kw_only=True)
class ToldTiny(Tiny):
    """Says more channels than it has."""
    channels = 65
'''


BAD = '''
"""One of each kind that breaks its contract in some way that can be told."""
from dataclasses import dataclass
import numpy as np
import torch
from torch import nn
from labelattack import datasets, measures, models
from labelattack.datasets.base import Dataset, Split, Splits
from labelattack.datasets.digits import Digits
from labelattack.measures.base import Measure
from labelattack.measures.outcome import Metric
from labelattack.models.base import Model, Preprocessing
from labelattack.models.tiny import Tiny

@models.register("no-channels")
@dataclass(frozen=True, kw_only=True)
class NoChannels(Model):
    """Does not say its channels."""
    def backbone(self):
        return nn.Conv2d(3, 8, 3)
    @property
    def preprocessing(self):
        return Preprocessing(None, (0.0,) * 3, (1.0,) * 3, flip=False)

@models.register("flat")
@dataclass(frozen=True, kw_only=True)
class Flat(Tiny):
    """Pools itself."""
    def backbone(self):
        return nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

@models.register("small-map")
@dataclass(frozen=True, kw_only=True)
class SmallMap(Tiny):
    """Pools itself, and keeps the axes."""
    def backbone(self):
        return nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1))

@models.register("of-bytes")
@dataclass(frozen=True, kw_only=True)
class OfBytes(Tiny):
    """Statistics of pixels to 255."""
    @property
    def preprocessing(self):
        return Preprocessing(32, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), flip=False)

class Mixture(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) - super().forward(images).mean(0)

@models.register("mixed")
@dataclass(frozen=True, kw_only=True)
class Mixed(Tiny):
    """Subtracts the mean of the batch."""
    def backbone(self):
        return Mixture(3, 64, 3)

class Cut(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).detach()

@models.register("cut")
@dataclass(frozen=True, kw_only=True)
class CutOff(Tiny):
    """No gradient reaches it."""
    def backbone(self):
        return Cut(3, 64, 3)

SMALL = dict(train=30, val=20, test=20)

@datasets.register("no-splits")
@dataclass(frozen=True, kw_only=True)
class NoSplits(Dataset):
    """Gives a list."""
    default_model = "tiny"
    def load(self):
        return [1, 2]

class Other:
    def __init__(self, split, image):
        self.split, self.image = split, image
    def __len__(self):
        return len(self.split)
    def __getitem__(self, index):
        image = self.split.images[index]
        return self.image(image) if index == len(self) - 1 else image
    def fingerprint(self):
        return self.split.images.fingerprint()

def lost(image):
    raise OSError("it is cut short")

@datasets.register("last-lost")
@dataclass(frozen=True, kw_only=True)
class LastLost(Dataset):
    """Its last test image cannot be read."""
    default_model = "tyni"
    change = staticmethod(lost)
    def load(self):
        found = Digits(**SMALL).load()
        images = Other(found.test, self.change)
        test = Split(images, found.test.partial, found.test.ids)
        return Splits(found.classes, found.train, found.val, test)

@datasets.register("noisy")
@dataclass(frozen=True, kw_only=True)
class Noisy(LastLost):
    """Its last test image is another one each time."""
    default_model = "tiny"
    change = staticmethod(lambda image: np.random.randint(0, 256, image.shape).astype(np.uint8))

@measures.register("undeclared")
class Undeclared(Measure):
    """Declares no metrics."""
    def measure(self, run):
        return self.values(3)

@measures.register("misnamed")
class Misnamed(Measure):
    """Gives another metric than it declares."""
    metrics = (Metric("rightly_named", "right"),)
    def measure(self, run):
        return self.values(3, wrongly_named=1.0)

@measures.register("number")
class Number(Measure):
    """Gives a number."""
    metrics = (Metric("the_number", "number"),)
    def measure(self, run):
        return 0.5

@measures.register("taken-name")
class TakenName(Measure):
    """Has a metric of the name of another."""
    metrics = (Metric("ece", "ece"),)
    def measure(self, run):
        return self.values(3, ece=0.5)
'''
SAID = [
    "no-channels: can be built: NoChannels must define channels",
    "flat: maps images to logits: backbone must give a map [batch, 64, h, w], as channels says, "
    "got Tensor (2, 64)",
    "small-map: maps images to logits: map of the backbone must be larger than 1 x 1, got "
    "(2, 64, 1, 1)",
    "of-bytes: declares its preprocessing: mean and std of preprocessing must be three numbers "
    "each, of pixels in [0, 1], got (123.7, 116.3, 103.5) and (58.4, 57.1, 57.4)",
    "mixed: sees images alone: map of an image must not depend on the other images of a batch",
    "cut: can be trained: a gradient must reach the backbone, got none",
    "no-splits: loads the same twice: load must return Splits, got a list",
    "no-splits: splits are disjoint: as above",
    "no-splits: images are pixels: as above",
    "last-lost: images are pixels: image 19 of test must be readable, got OSError: it is cut short",
    "last-lost: names a known model: unknown model 'tyni'; did you mean 'tiny'?",
    "noisy: images are pixels: image 19 of test must be the same when read again",
    "undeclared: names its metrics: metrics must declare at least one Metric, got none",
    "misnamed: gives its metrics: values must be given for the metrics ['rightly_named'], got "
    "['wrongly_named']",
    "number: gives its metrics: measure must return a MeasuredValues, as self.values(...) makes, "
    "got a float",
    "taken-name: names its metrics: metric 'ece' must have a name of its own, got that of measure "
    "'calibration'",
]


def test_what_breaks_the_contract_of_a_kind_is_said_once(tmp_path, forgotten, capsys):
    path = tmp_path / "bad.py"
    path.write_text(BAD, encoding="utf-8")
    code, said = said_of(capsys, path)
    lines = said.splitlines()
    assert code == 1
    for wanted in SAID:
        assert f"BROKEN  {wanted}" in lines, said
    ok = {line.split()[1] for line in lines if line.startswith("ok")}
    assert {"flat:", "last-lost:", "number:"} <= ok  # other rules are kept


@pytest.fixture
def kinds(tmp_path, monkeypatch):
    for kind in (datasets, models):
        monkeypatch.setattr(kind.registry, "_classes", dict(kind.registry._classes))
    path = tmp_path / "kinds.py"
    path.write_text(KINDS, encoding="utf-8")
    return str(path)


def said_of(capsys, *arguments):
    code = check_files([*map(str, arguments)])
    return code, capsys.readouterr().out


def test_datasets_and_models_of_a_file_are_checked(kinds, capsys):
    code, said = said_of(capsys, kinds, "told-digits:place=x,train=60,val=30,test=40")
    assert code == 1
    for line in ("ok      told-digits:place=x,train=60,val=30,test=40: splits are disjoint",
                 "ok      told-tiny: is seeded", "BROKEN  told-tiny: maps images to logits"):  # fmt: skip
        assert line in said


def test_what_needs_a_parameter_says_so_once(kinds, capsys):
    code, said = said_of(capsys, kinds)
    assert code == 1
    (line,) = [line for line in said.splitlines() if "told-digits" in line]
    assert line.endswith(
        "dataset 'told-digits' needs parameter 'place', got none; give its spec after the file: "
        "told-digits:key=value"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "must be a Python file, got none"), (["absent.py"], "which is not there")],
)
def test_nothing_to_check_is_an_error(arguments, message):
    with pytest.raises(PluginError, match=message):
        check_files(arguments)


def test_a_spec_of_another_component_is_named(kinds):
    with pytest.raises(UnknownNameError, match="did you mean 'told-digits'"):
        check_plugin(kinds, ["tld-digits:train=3"])
