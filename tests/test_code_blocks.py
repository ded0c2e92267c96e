"""Every code block of every page is run.

Python is executed, page by page, and what follows ``# ->`` is compared. Commands of labelattack are run
in a folder with what their pages speak of: labels, images, plug-ins, and a small store where ``bench``
would have written one. ``bench`` and ``reproduce`` themselves only plan (``--dry-run``), as they would
train for minutes. Files of ``examples/`` have tests of their own.
"""

import ast
import json
import re
import shlex
import shutil
import tomllib
import warnings
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import labelattack
from labelattack.benchmark.plan.config import experiment
from tests.conftest import SMALL_DIGITS, exit_code, registered_within

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
INCLUDED = re.compile(r'^--8<-- "(.*?)"$', re.M)
LANGUAGES = {"python", "bash", "console", "text", "toml", "yaml", "json", "bibtex"}
# What is not of this package, changes the machine, or waits for others.
NOT_RUN = (
    "LABELATTACK_FUZZ=",
    "python3 -m venv",
    "source",
    "pip",
    ".venv/bin/",
    "git",
    "torchrun",
    "make",
    "python -m pytest",
)
# Official data sets and a checkpoint of the reader are all that a command may miss.
ABSENT = re.compile(r"LABELATTACK_DATA|(is|are|,) not there|not found under|missing|theirs.ckpt")


def blocks(page, *languages):
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]


def named(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_has_a_language(page):
    assert {language for language, _ in BLOCK.findall(page.read_text())} <= LANGUAGES


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented")
    labelattack.bench(
        datasets=[SMALL_DIGITS], attacks=["targeted", "targeted:rate=0.8"], defenses=["an", "pseudo-history"],
        seeds=2, epochs=1, lrs=[0.004], batch_sizes=[16], out=folder / "results", jobs=1, progress=False,
        robustness=["evasion:steps=1,images=10", "corruption:images=10"], d_score="grid=2,images=10,resamples=10",
    )  # fmt: skip
    return folder / "results"


@pytest.fixture
def place(tmp_path, small_store, told, monkeypatch):
    """A folder with what the pages speak of; official data sets are absent."""
    monkeypatch.setenv("LABELATTACK_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ignored = shutil.ignore_patterns("*.png", "*.pyc")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=ignored)
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, tmp_path)
    for name in ("results", "node1", "node2"):
        shutil.copytree(small_store, tmp_path / name)
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    lines = ["image,cat,dog"]
    for number in range(40):
        pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{number % 3 // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    with chdir(tmp_path):
        for out in ("attacked.csv", "part.csv"):
            assert (
                told("attack", "labels.csv", "--attack", "targeted:rate=0.4", "--out", out)[0] == 0
            )
        assert told("check", "results", "--baseline", "baseline.json", "--update")[0] == 0
    (tmp_path / "grid.toml").write_text('attacks = ["targeted"]\ndefenses = ["an"]\n')
    return tmp_path


def python_pages():
    return [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", python_pages(), ids=named)
def test_python(page, place, forgotten, monkeypatch):
    monkeypatch.chdir(place)
    names = {"__name__": "__docs__"}
    for number, block in enumerate(blocks(page, "python")):
        if INCLUDED.fullmatch(block.strip()):
            continue
        source = INCLUDED.sub(lambda found: (ROOT / found[1]).read_text(), block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            execute(source, names, f"{named(page)}, block {number}")


def execute(source, names, where):
    """Executes a block, and compares values of expressions with what stands after them."""
    lines = source.splitlines()
    for statement in ast.parse(source, where).body:
        if not isinstance(statement, ast.Expr):
            exec(compile(ast.Module([statement], []), where, "exec"), names)
            continue
        value = eval(compile(ast.Expression(statement.value), where, "eval"), names)
        after = lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
        below = lines[statement.end_lineno] if statement.end_lineno < len(lines) else ""
        promised = [text[4:].strip() for text in (after, below) if text.startswith("# ->")]
        assert not promised or repr(value) == promised[0], where


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_has_a_test_of_its_own(example):
    tests = [p for p in (ROOT / "tests").glob("*.py") if p.name != Path(__file__).name]
    assert any(
        f'{example}"' in p.read_text() or f"import {Path(example).stem}\n" in p.read_text()
        for p in tests
    )


def commands(page):
    """Commands of a page: continued lines joined, comments and prompts left out."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    for block in blocks(page, "console"):
        lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_commands(page, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    for block in blocks(page, "toml"):
        if title := re.match(r"# (\S+\.toml)\n", block):
            (place / title[1]).write_text(block)
    variables = {}
    for line in commands(page):
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        if assigned := re.fullmatch(r"(\w+)='(.*)'", line):
            variables[assigned[1]] = assigned[2]
        elif not line.startswith(NOT_RUN):
            with registered_within():  # each command is a process of its own
                run(shlex.split(line, comments=True), place, line, monkeypatch, capsys)


def run(words, place, line, monkeypatch, capsys):
    output = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if output else words
    if words[:3] == ["python", "-m", "labelattack.testing"]:
        from labelattack.testing.plugins import check_files

        assert check_files(words[3:]) == 0, line
        return
    if words[0] == "python":
        assert (ROOT / words[1]).is_file(), line
        return
    assert words[0] == "labelattack", line
    arguments = words[1:]
    trains = {"bench", "reproduce"} & set(arguments)
    code = exit_code(monkeypatch, place, [*arguments, *(["--dry-run"] if trains else [])])
    out, err = capsys.readouterr()
    assert code == 0 or (code in {1, 2} and (ABSENT.search(err + out))), f"{line}\n{out}{err}"
    assert "Traceback" not in err and "No such option" not in err, f"{line}\n{err}"
    if output and not output.startswith("benchmarks/"):
        (place / output).write_text(out)
    folder = place / (words[words.index("--out") + 1] if "--out" in words else "results")
    if trains and not folder.exists():
        shutil.copytree(place / "node1", folder)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_of_configuration(page):
    for block in blocks(page, "toml"):
        experiment(tomllib.loads(block))
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)
    for block in blocks(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=named)
def test_links_lead_somewhere(page):
    """Links between the pages of docs/ are checked when these are built."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert links and all((ROOT / link).exists() for link in links)
