"""Plug-in files named by a config and by the environment, beside those of --plugin."""

import os
import tomllib

import pytest

import labelattack
from labelattack import attacks
from labelattack.benchmark.plan.config import experiment, read_experiment
from labelattack.errors import ParameterError, PluginError
from tests.conftest import SMALL_DIGITS

PLUGIN = """
from dataclasses import dataclass
from labelattack import LabelAttack, attacks

@attacks.register("{name}")
@dataclass(frozen=True, kw_only=True)
class Mine(LabelAttack):
    \"\"\"Hides nothing.\"\"\"

    def observe(self, labels, rng):
        return labels | True
"""
QUICK = [
    "--dataset", SMALL_DIGITS, "--protocol", "linear", "--defense", "an", "--seeds", "1", "--epochs",
    "1", "--lr", "0.01", "--d-score", "none", "--no-reference", "--jobs", "1",
]  # fmt: skip


@pytest.fixture
def config(tmp_path, forgotten):
    """A config in a folder of its own that names a plug-in beside it."""
    folder = tmp_path / "of config"
    folder.mkdir()
    (folder / "mine.py").write_text(PLUGIN.format(name="of-config"))
    (folder / "grid.toml").write_text('plugins = ["mine.py"]\nattacks = ["of-config"]\n')
    return folder / "grid.toml"


def test_a_config_names_files_relative_to_itself(told, config):
    code, _, err = told("bench", "--config", config, *QUICK)
    assert code == 0 and "computed 1 of 1 cells" in err


def test_python_loads_them_too_and_arguments_override_them(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = labelattack.bench(
        config=config, datasets=[SMALL_DIGITS], protocol="linear", defenses=["an"], seeds=1, epochs=1,
        lrs=[0.01], d_score="none", reference=False, jobs=1, progress=False,
    )  # fmt: skip
    assert [record.cell.attack for record in found.records] == ["of-config"]
    with pytest.raises(PluginError, match="got '.*other.py', which is not there"):
        labelattack.bench(config=config, plugins=["other.py"], progress=False)


def test_a_printed_config_names_them_wherever_it_is_saved(told, config):
    code, _, err = told("config", "--config", config, "--defense", "an")
    assert code == 0, err
    read = read_experiment(config)
    assert read["plugins"] == [str(config.parent / "mine.py")]
    assert experiment(read).plugins == (str(config.parent / "mine.py"),)
    assert "plugins" not in experiment({}).model_dump()
    assert "plugins" not in tomllib.loads(labelattack.benchmark.plan.config.to_toml(experiment({})))


def test_the_environment_names_files_for_every_command(
    told, config, tmp_path, monkeypatch, forgotten
):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name).replace("Mine", name.title()))
    monkeypatch.setenv(
        "LABELATTACK_PLUGINS", os.pathsep.join([str(tmp_path / "one.py"), "two.py", ""])
    )
    code, out, _ = told("list", "attacks", "--plugin", config.parent / "mine.py")
    assert code == 0 and {"one", "two", "of-config"} <= set(attacks.registry.names())
    assert " one " in out and " two " in out
    code, _, err = told("bench", *QUICK, "--attack", "one", "--attack", "two")
    assert code == 0 and "computed 2 of 2 cells" in err


def test_a_missing_file_is_named_with_what_names_it(refused, config, tmp_path, monkeypatch):
    (config.parent / "mine.py").unlink()
    said = refused("bench", "--config", "of config/grid.toml", cwd=tmp_path)
    assert said == (
        "error: plugins of 'of config/grid.toml' must be Python files, got "
        f"'{config.parent / 'mine.py'}', which is not there"
    )
    monkeypatch.setenv("LABELATTACK_PLUGINS", "absent.py")
    said = refused("list", "attacks", cwd=tmp_path)
    assert said == (
        "error: LABELATTACK_PLUGINS must be Python files, got 'absent.py', which is not there"
    )
    monkeypatch.delenv("LABELATTACK_PLUGINS")
    assert "absent.py', which is not there" in refused(
        "list", "--plugin", "absent.py", cwd=tmp_path
    )


@pytest.mark.parametrize("value", ['"mine.py"', "[1]"])
def test_plugins_of_a_config_are_a_list(tmp_path, value):
    (tmp_path / "c.toml").write_text(f"plugins = {value}\n")
    with pytest.raises(ParameterError, match="plugins of '.*' must be a list of files, got"):
        read_experiment(tmp_path / "c.toml")
