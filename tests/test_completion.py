"""Names that a shell completes: all of them, no others, and quickly."""

import os
import resource
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from labelattack.cli import app
from labelattack.cli._completion import metric_names, names_of
from labelattack.cli.list import KINDS
from labelattack.errors import UnknownNameError
from labelattack.measures.base import Derived
from labelattack.measures.request import metric_named


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_the_registry(kind):
    registry = import_module(KINDS[kind]).registry
    known = {name for name in registry.names() if not issubclass(registry.get(name), Derived)}
    assert set(names_of(kind)("")) >= {name for name in known if registry.is_builtin(name)}
    assert set(names_of(kind)("")) <= known


def test_names_begin_as_they_were_typed():
    assert names_of("attacks", more=("worst-of",))("w") == ["worst-of"]
    assert names_of("defenses", "datasets")("vo") == ["voc"]


def test_metrics_are_those_that_may_be_named():
    for name in metric_names(""):
        metric_named(name)
    with pytest.raises(UnknownNameError) as said:
        metric_named("zzz")
    assert set(metric_names("")) == set(str(said.value).partition("known: ")[2].split(", "))


def complete(*words):
    env = {
        **os.environ, "_LABELATTACK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    code = "import sys; from labelattack.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", timeout=60
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_a_shell_is_answered_quickly_and_without_torch():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert complete("labelattack", "bench", "--defense", "pseudo") == [
        "pseudo-history", "pseudo-threshold",
    ]  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1  # about 0.4 s; half of what a busy machine may take, a tenth of torch's


@pytest.mark.parametrize(
    ("command", "option", "word", "found"),
    [
        ("bench", "--attack", "worst", "worst-of"),
        ("bench", "--dataset", "vis", "visual-genome"),
        ("bench", "--model", "resnet1", "resnet18"),
        ("bench", "--measures", "cal", "calibration"),
        ("reproduce", "--protocol", "lin", "linear"),
        ("check", "--measure", "fit", "fitness"),
        ("attack", "--attack", "tar", "targeted"),
        ("cite", "what", "vlp", "vlpl"),
        ("list", "kind", "tra", "trackers"),
    ],
)
def test_options_complete(command, option, word, found):
    told = typer.main.get_command(app).commands[command]
    context = told.make_context(command, [], resilient_parsing=True)
    (parameter,) = (p for p in told.params if option in (*p.opts, p.name))
    assert found in [item.value for item in parameter.shell_complete(context, word)]


def test_the_shell_script_can_be_had():
    parameters = {opt for p in typer.main.get_command(app).params for opt in p.opts}
    assert {"--install-completion", "--show-completion"} <= parameters
