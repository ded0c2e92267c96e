"""Every command teaches by an example, and its help fits narrow terminals."""

import re
import shlex

import pytest
import typer

from labelattack.cli import app
from tests.conftest import exit_code

GROUP = typer.main.get_command(app)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(GROUP))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_ends_with_an_example_that_is_accepted(path):
    (example,) = re.findall(r"For example:\s`(labelattack [^`]*)`$", ALL[path].help.strip())
    words = shlex.split(example.partition(" > ")[0])[1:]
    assert tuple(words[: len(path)]) == path
    known = {o for p in ALL[path].params for o in (*p.opts, *p.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    ALL[path].make_context(path[-1], words[len(path) :])


@pytest.mark.parametrize("width", [60, 80, 119, 120])
@pytest.mark.parametrize("path", [(), *ALL], ids=" ".join)
def test_help_fits_and_breaks_no_option(monkeypatch, tmp_path, capsys, path, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert exit_code(monkeypatch, tmp_path, [*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out
    command = ALL.get(path, GROUP)
    for option in (p for p in command.params if p.param_type_name == "option"):
        assert any(name in out.split() for name in option.opts if name.startswith("--"))
