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
        for c in model_checks(name if name == "tiny" else f"{name}:weights=none,size=64")
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
