"""Files for continuous integration: the GitHub action, what docs/ci.md shows, pre-commit, pyproject."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from labelattack.benchmark.gate.baseline import baseline_of, write_baseline
from labelattack.benchmark.plan.config import experiment
from labelattack.benchmark.store.store import RecordStore
from labelattack.cli import app
from tests.test_gate import runs

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "name" in step}
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)
THEN, WORSE = [80.0, 81.5, 79.3, 80.4], [77.2, 78.4, 76.5, 77.7]


def calls(script):
    """Each call of labelattack in a shell script, as its words."""
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        found = re.match(r"\s*(?:- )?(labelattack .*?)(?:\|\||;|$)", line)
        if found:
            yield shlex.split(found[1])


SCRIPTS = [step["run"] for step in STEPS.values()] + [text for _, text in BLOCKS]
CALLS = [call for script in SCRIPTS for call in calls(script)]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_command_and_option_exists(call):
    command = typer.main.get_command(app)
    for name in call[1:]:
        if not hasattr(command, "commands"):
            break
        command = command.commands[name]
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for option in (word for word in call if word.startswith("--")):
        assert option in known, option


def test_the_commands_are_those_that_are_meant():
    assert {call[1] for call in CALLS} == {"bench", "check", "report"}
    assert "labelattack config" in PAGE and "compare results-main results" in PAGE


def test_the_experiment_of_the_page_is_one():
    (config,) = (text for kind, text in BLOCKS if kind == "toml")
    assert len(experiment(tomllib.loads(config)).grids()[0].cells("x")) == 4 * 3


# --- the action


def test_the_action_is_sound():
    """Shell steps name their shell, inputs exist and reach scripts by way of the environment."""
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            assert step["shell"] == "bash" and "${{" not in step["run"]
            subprocess.run(["bash", "-n"], input=step["run"], encoding="utf-8", check=True)
            for name in re.findall(r"\$\{?([A-Z_]+)", step["run"]):
                assert name in step.get("env", {}) or name.startswith("GITHUB_")
        else:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step["uses"])
    assert all(
        {"description", "default"} <= set(i) or i["required"] for i in ACTION["inputs"].values()
    )


def test_inputs_and_outputs_are_used_and_documented():
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    for name in [*ACTION["inputs"], *ACTION["outputs"]]:
        assert f"`{name}`" in PAGE, name


def test_pip_takes_torch_for_processors_from_a_cache():
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in STEPS["Install"]["run"]
    (cache,) = (
        s for s in ACTION["runs"]["steps"] if s.get("uses", "").startswith("actions/cache@")
    )
    assert cache["with"]["path"] == "${{ steps.pip.outputs.folder }}"


@pytest.fixture
def shell(tmp_path):
    """Runs a step's shell with some programs replaced; what they were called with is in ``calls``."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "output").touch()

    def stub(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> "$CALLS"\n{script}\n')
        path.chmod(0o755)

    def run(step, **given):
        inputs = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
        inputs |= {"baseline": "b.json"} | given
        env = {
            key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs[m[1]], value)
            for key, value in STEPS[step].get("env", {}).items()
        }
        env |= {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_REPOSITORY": "owner/name",
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
            cwd=tmp_path, env={**os.environ, **env, **given}, capture_output=True, encoding="utf-8",
            timeout=120,
        )  # fmt: skip

    def made():
        path = tmp_path / "calls"
        found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    run.stub, run.made, run.folder = stub, made, tmp_path
    return run


def outputs(folder):
    return dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())


def test_check_sets_the_outputs_and_leaves_failing_to_the_last_step(shell):
    store = RecordStore(shell.folder / "results")
    for record in runs(WORSE):
        store.add(record)
    write_baseline(shell.folder / "b.json", baseline_of(runs(THEN), ["map"]))
    shell.stub("labelattack", f'exec "{sys.executable}" -m labelattack "$@"')
    done = shell("Check", measure="map map")
    assert done.returncode == 0, done.stderr
    assert "REGRESSION" in done.stdout
    found = outputs(shell.folder)
    assert set(found) == set(ACTION["outputs"]) - {"junit", "markdown", "badge", "report"}
    assert (found["exit-code"], found["verdict"], found["regressions"]) == ("1", "regression", "1")
    for name in ("labelattack-check.xml", "labelattack-check.md", "labelattack-badge.json"):
        assert (shell.folder / name).is_file()
    assert shell("Verdict", CODE="1").returncode == 1 and shell("Verdict", CODE="0").returncode == 0


def test_a_check_that_cannot_be_made_leaves_no_old_markdown(shell):
    (shell.folder / "labelattack-check.md").write_text("of last time")
    shell.stub("labelattack", "exit 2")
    assert shell("Check").returncode == 0
    assert outputs(shell.folder) == {"exit-code": "2"}
    assert not (shell.folder / "labelattack-check.md").exists()


@pytest.mark.parametrize(("code", "passes"), [(0, True), (1, True), (2, False)])
def test_failed_cells_are_left_to_the_check_and_errors_are_not(shell, code, passes):
    shell.stub("labelattack", f"exit {code}")
    assert (shell("Run", config="my ci.toml").returncode == 0) is passes
    assert shell.made() == ["labelattack bench --config my ci.toml --out results"]


def test_pip_installs_the_checkout_unless_told_otherwise(shell):
    shell.stub("python", "exit 0")
    shell("Install")
    shell("Install", install="labelattack[ci]")
    own, other = shell.made()
    assert own.endswith(f" {ROOT}[ci,report]") and other.endswith(" labelattack[ci]")


def test_one_comment_is_made_and_then_brought_up_to_date(shell):
    shell.stub(
        "gh",
        'case "$*" in *--jq*) cat known ;; *) for a in "$@"; do case "$a" in '
        'body=@*) cp "${a#body=@}" body ;; esac; done ;; esac',
    )
    known = shell.folder / "known"
    known.write_text("")
    (shell.folder / "labelattack-check.md").write_text("### regression: ±\n" + "x" * 70_000)
    assert shell("Comment", NUMBER="7").returncode == 0
    written = (shell.folder / "body").read_text(encoding="utf-8")
    assert written.startswith("<!-- labelattack check against b.json -->\n### regression: ±")
    assert len(written) < 65_536
    _, made = shell.made()
    assert "--method POST repos/owner/name/issues/7/comments" in made
    known.write_text("123\n")
    assert shell("Comment", NUMBER="7").returncode == 0
    asked, made = shell.made()
    assert "startswith(env.MARKER)" in asked
    assert "--method PATCH repos/owner/name/issues/comments/123" in made
    (shell.folder / "labelattack-check.md").unlink()
    shell("Comment", NUMBER="7")
    assert "could not be made" in (shell.folder / "body").read_text(encoding="utf-8")


def test_a_comment_that_is_not_allowed_is_a_warning(shell):
    shell.stub("gh", "exit 1")
    done = shell("Comment", NUMBER="7")
    assert done.returncode == 0 and done.stdout.startswith("::warning::")


# --- other files


def test_the_pages_workflows_are_yaml_and_call_what_there_is():
    workflow, gitlab, hook = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
    steps = workflow["jobs"]["regressions"]["steps"]
    (own,) = (step for step in steps if step.get("uses") == "./labelattack")
    assert set(own["with"]) <= set(ACTION["inputs"])
    told = re.findall(r"steps\.gate\.outputs\.([\w-]+)", str(workflow))
    assert told and set(told) <= set(ACTION["outputs"])
    scripts = [call for line in gitlab["regressions"]["script"] for call in calls(line)]
    assert [call[1] for call in scripts] == ["bench", "check"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook[0]["hooks"][0]["id"] in {each["id"] for each in hooks}


def test_hooks_run_what_is_there():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"].split() == ["labelattack", "check"]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {each["entry"].split()[0] for each in config["repos"][0]["hooks"]}
    assert entries <= set(re.findall(r"^\t([\w-]+)", (ROOT / "Makefile").read_text(), re.M))


def test_the_bibliography_is_shipped_and_tests_need_nothing_undeclared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["labelattack"]
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name.removeprefix("/")).exists() for name in included)
    assert "bibtexparser" in " ".join(project["project"]["optional-dependencies"]["dev"])
