import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labelattack import attacks, datasets, defenses, models
from labelattack.datasets.digits import Digits
from labelattack.errors import ParameterError, PluginError, UnknownNameError
from labelattack.registry.parameters import parameters_of
from labelattack.registry.plugins import load_plugin
from labelattack.registry.spec import Spec

PLUGINS = Path(__file__).parent / "plugin_package"


def test_defaults_are_filled_in_so_equal_specs_are_equal():
    registry = attacks.registry
    assert registry.resolve("targeted") == registry.resolve("targeted:rate=0.4")
    assert registry.resolve("targeted:rate=1") == registry.resolve("targeted:rate=1.0")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("targetted", UnknownNameError, "unknown attack 'targetted'; did you mean 'targeted'?"),
        ("zzz", UnknownNameError, "negatives-only, none, random"),
        ("targeted:rat=1", ParameterError, "did you mean 'rate'"),
        (
            "targeted:rate=lots",
            ParameterError,
            "'rate' of attack 'targeted' must be a valid number",
        ),
        ("targeted:rate=nan", ParameterError, "must be a finite number"),
        ("targeted:scope=all", ParameterError, "'dataset' or 'image'"),
        (
            "mask:file=a,encoding=b",
            ParameterError,
            "'positives', 'signed', 'missing' or 'nan', got",
        ),
        ("targeted:rate", ParameterError, "name:key=value"),
        ("targeted:rate=0.1,rate=0.2", ParameterError, "once"),
        ("", ParameterError, "name:key=value"),
    ],
)
def test_wrong_specs(spec, error, message):
    with pytest.raises(error) as caught:
        attacks.create(spec)
    assert message in str(caught.value)


def test_none_is_none_only_where_none_is_allowed():
    assert dict(defenses.registry.resolve("wan:weight=none").params)["weight"] is None
    with pytest.raises(ParameterError):
        attacks.registry.resolve("targeted:rate=none")


def test_short_specs_hide_defaults_but_the_rate():
    resolved = str(attacks.registry.resolve("targeted:scope=image"))
    assert attacks.registry.short(resolved) == "targeted:rate=0.4,scope=image"
    resolved = str(defenses.registry.resolve("pseudo-history:init=0.5"))
    assert defenses.registry.short(resolved) == "pseudo-history:init=0.5"
    assert attacks.registry.short("somebody-elses:x=1") == "somebody-elses:x=1"


@pytest.fixture
def installed_plugins(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    attacks.registry.__dict__.pop("_entry_points", None)
    yield attacks.registry
    attacks.registry.__dict__.pop("_entry_points", None)
    attacks.registry._classes.pop("every-other", None)


def test_installed_plugins_are_found_by_entry_point(installed_plugins):
    assert "every-other" in installed_plugins.names()
    assert installed_plugins.create("every-other:start=1").start == 1


def test_a_broken_plugin_fails_only_who_names_it(installed_plugins):
    installed_plugins.resolve("targeted")
    listed = {d.name: d.summary for d in installed_plugins.declarations()}
    assert "broken_plugin" in listed["broken"]
    assert listed["every-other"] == "Hides every other image."
    with pytest.raises(PluginError, match="this plug-in is broken"):
        installed_plugins.create("broken")


def test_names_cannot_be_taken_twice(tmp_path):
    path = tmp_path / "thief.py"
    path.write_text(
        "from labelattack import LabelAttack, attacks\n"
        "@attacks.register('targeted')\n"
        "class Thief(LabelAttack):\n"
        "    pass\n"
    )
    with pytest.raises(PluginError, match="'targeted' is registered already"):
        load_plugin(path)


def test_an_edited_plugin_has_another_version(tmp_path):
    versions = []
    for number in (1, 2):
        path = tmp_path / f"edited{number}.py"
        path.write_text(
            "from labelattack import LabelAttack, attacks\n"
            f"@attacks.register('edited{number}')\n"
            "class Edited(LabelAttack):\n"
            f"    def observe(self, labels, rng): return labels  # {number}\n"
        )
        load_plugin(path)
        versions.append(attacks.registry.version(f"edited{number}"))
        del attacks.registry._classes[f"edited{number}"]
    assert versions[0] != versions[1]
    assert attacks.registry.version("targeted").partition("+")[0] == "1"


def test_missing_plugin_file(tmp_path):
    with pytest.raises(PluginError, match="is not there"):
        load_plugin(tmp_path / "no.py")


def test_spec_text():
    assert str(Spec.of("a", {"y": True, "x": None, "z": 0.5})) == "a:x=none,y=true,z=0.5"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "defenses"], ["attack", "clean.npy", "--out", "left.npy"]],
)
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    np.save(tmp_path / "clean.npy", np.eye(3, dtype=np.int8))
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from labelattack.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'art', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)


# Parameters beside a spec


@pytest.mark.parametrize(
    ("registry", "spec", "params", "whole"),
    [
        (attacks, "targeted", {"rate": 0.25}, "targeted:rate=0.25"),
        (attacks, "targeted:scope=image", {"rate": 0.25}, "targeted:rate=0.25,scope=image"),
        (defenses, "role", {"expected_positives": 2}, "role:expected_positives=2"),
        (models, "tiny", {"prior": 0.5}, "tiny:prior=0.5"),
        (datasets, "digits", {"train": 60, "val": 30}, "digits:train=60,val=30"),
    ],
)
def test_parameters_beside_a_spec_are_those_of_a_longer_spec(registry, spec, params, whole):
    assert registry.registry.resolve(spec, **params) == registry.registry.resolve(whole)
    made, same = registry.create(spec, **params), registry.create(whole)
    assert type(made) is type(same)
    assert registry.registry.resolve(Spec.parse(spec), **params) == registry.registry.resolve(whole)


@pytest.mark.parametrize(
    ("spec", "params", "message"),
    [
        ("targeted:rate=0.4", {"rate": 0.4}, "'rate' must be given once, got it in the spec"),
        ("targeted", {"rat": 0.4}, "unknown parameter of attack 'targeted': 'rat'; did you mean"),
        ("targeted", {"rate": 2}, "'rate' of attack 'targeted' must be less than or equal to 1"),
        ("targeted", {"rate": "lots"}, "must be a valid number"),
        (None, {}, "spec must be text such as name:key=value,key=value, got None"),
    ],
)
def test_wrong_parameters_beside_a_spec(spec, params, message):
    with pytest.raises(ParameterError, match=message):
        attacks.create(spec, **params)


def test_a_path_may_be_a_parameter(tmp_path):
    assert attacks.create("confidence", scores=tmp_path / "s.csv").scores == str(tmp_path / "s.csv")


@pytest.mark.parametrize("package", [attacks, defenses, models], ids=lambda p: p.__name__)
def test_constructors_have_the_rules_of_specs(package):
    kind = package.registry.kind
    for name in package.registry.names():
        cls = package.registry.get(name)
        fields = parameters_of(cls).model_fields
        given = "resnet18" if name in {"timm", "torchvision"} else "nan"
        needed = {key: given for key, field in fields.items() if field.is_required()}
        with pytest.raises(ParameterError, match=f"of {kind} '{name}': 'absent'"):
            cls(**needed, absent=1)
        for key in fields:
            with pytest.raises(ParameterError, match=f"'{key}' of {kind} '{name}' must be"):
                cls(**needed | {key: object()})


def test_a_parameter_with_the_name_of_a_method_is_refused(forgotten):
    """A dataclass would take the method of its base class for the default."""
    with pytest.raises(PluginError, match="parameter 'examine' of dataset 'clash' must have anoth"):

        @datasets.register("clash")
        @dataclass(frozen=True, kw_only=True)
        class Clash(Digits):
            examine: str


# Classes by name

PACKAGES = ("attacks", "defenses", "models", "datasets", "measures", "mutations", "corruptions")


@pytest.mark.parametrize("package", PACKAGES)
def test_classes_are_attributes_of_their_package(package):
    module = importlib.import_module(f"labelattack.{package}")
    classes = [module.registry.get(name) for name in module.registry.names()]
    classes = [cls for cls in classes if cls.__module__.startswith(module.__name__)]
    assert len({cls.__name__ for cls in classes}) == len(classes) > 2
    for cls in classes:
        assert getattr(module, cls.__name__) is cls
        assert cls.__name__ in dir(module)
    assert "registry" in dir(module)


def test_an_unknown_class_is_an_attribute_error_with_the_nearest_name():
    with pytest.raises(AttributeError, match="did you mean 'PseudoHistory'"):
        _ = defenses.PseudoHistry
    with pytest.raises(ImportError):
        from labelattack.attacks import Targetted  # noqa: F401
    assert not hasattr(attacks, "__wrapped__") and not hasattr(attacks, "no_such_module")


def test_classes_are_found_without_importing_the_others():
    code = (
        "import sys\n"
        "import labelattack.attacks as attacks, labelattack.defenses as defenses\n"
        "assert 'TargetedAttack' in dir(attacks) and 'PseudoHistory' in dir(defenses)\n"
        "assert 'labelattack.attacks.targeted' not in sys.modules\n"
        "from labelattack.attacks import TargetedAttack, base\n"
        "assert TargetedAttack(rate=0.3).rate == 0.3 and base.LabelAttack in TargetedAttack.mro()\n"
        "assert 'labelattack.attacks.random' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
