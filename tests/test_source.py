"""Results of edited code never meet those of the code as it was."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import labelattack
from labelattack import defenses, models
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.measures.d_score import DScoreSettings
from labelattack.measures.request import MeasureRequest
from labelattack.registry.plugins import load_plugin
from tests.conftest import SMALL_DIGITS

pytestmark = pytest.mark.usefixtures("forgotten")
PACKAGE = Path(labelattack.__file__).parent
ASKED = """
import os, sys
import torch  # what is not ours is imported once; each child imports the package as it is by then
for _ in sys.stdin:
    if os.fork():
        if os.wait()[1]:
            sys.exit("no answer")
        continue
    import json
    from labelattack.benchmark.plan.grid import Grid
    from labelattack.benchmark.store.provenance import circumstances
    cells = Grid(dataset="digits", model="tiny", protocol="finetune", attacks=("targeted",),
                 defenses=("an", "wan"), seeds=(0,), reference=False).cells("")
    print(json.dumps([circumstances("cpu")["commit"], *(cell.key for cell in cells)]))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture
def ask(tmp_path):
    """Commit, and keys of ``an`` and ``wan``, as the package in the temporary folder tells them."""
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], cwd=tmp_path, env=environment, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as asked:  # fmt: skip

        def ask():
            print(file=asked.stdin, flush=True)
            return json.loads(asked.stdout.readline())

        yield ask


def copy_package(root):
    shutil.copytree(PACKAGE, root / "labelattack", ignore=shutil.ignore_patterns("__pycache__"))
    return root / "labelattack"


def edit(path):
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = 1\n", encoding="utf-8")


@pytest.fixture
def git(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("needs git")

    def run(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    return run


def test_an_edited_builtin_meets_no_stored_result_and_the_commit_says_so(tmp_path, git, ask):
    package = copy_package(tmp_path)
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    commit, an, wan = ask()
    assert len(commit) == 40
    edit(package / "defenses" / "wan.py")
    edited, same_an, other_wan = ask()
    assert edited == f"{commit}-dirty"
    assert same_an == an and other_wan != wan
    # What all runs need concerns all of them.
    git("checkout", "--", ".")
    for edited_file in (
        "training/loop.py",
        "measures/_d_score/ablation.py",
        "measures/_evasion.py",
    ):
        edit(package / edited_file)
        assert not {an, wan, other_wan} & set(ask()[1:])
        git("checkout", "--", ".")
    assert ask() == [commit, an, wan]


def test_an_edited_installation_is_told_by_its_record(tmp_path, ask):
    package = copy_package(tmp_path)
    about = tmp_path / "labelattack-9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: labelattack\nVersion: 9\n")
    lines = []
    for path in package.rglob("*"):
        if path.is_file():
            raw = hashlib.sha256(path.read_bytes()).digest()
            code = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            lines.append(f"{path.relative_to(tmp_path)},sha256={code},{path.stat().st_size}")
    (about / "RECORD").write_text("\n".join(lines))
    commit, an, wan = ask()
    assert commit is None
    edit(package / "defenses" / "wan.py")
    assert ask()[1] == an and ask()[2] != wan


# --- components without a file, and what they use


LOSS = """
from labelattack import PartialLabelLoss, defenses
from labelattack.defenses.base import assume_negative
{before}
@defenses.register("cell-loss")
class CellLoss(PartialLabelLoss):
    def loss(self, logits, step):
        return {value}
"""


def key_of(source, name="__main__"):
    """Key of the cell of a loss that is defined as in a notebook."""
    exec(compile(source, "<cell>", "exec"), {"__name__": name})
    grid = Grid(
        dataset="digits", model="tiny", protocol="linear", attacks=("none",), defenses=("cell-loss",),
        seeds=(0,), lrs=(1e-3,), batch_sizes=(8,), reference=False,
    )  # fmt: skip
    (cell,) = grid.cells("")
    return cell.key


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"value": "assume_negative(logits, step).mean()"}, {"value": "assume_negative(logits, step).sum()"}),
        ({"value": "2.0 * logits.mean()"}, {"value": "3.0 * logits.mean()"}),
        ({"before": "def f(x): return x", "value": "f(logits).mean()"}, {"before": "def f(x): return -x", "value": "f(logits).mean()"}),
        ({"before": "W = 2.0", "value": "W * logits.mean()"}, {"before": "W = 3.0", "value": "W * logits.mean()"}),
        ({"before": "W = {'a': [1]}", "value": "W['a'][0] * logits.mean()"}, {"before": "W = {'a': [2]}", "value": "W['a'][0] * logits.mean()"}),
        ({"before": "class H:\n    def f(self): return 1", "value": "H().f() * logits.mean()"}, {"before": "class H:\n    def f(self): return 2", "value": "H().f() * logits.mean()"}),
        ({"before": "import functools\nf = functools.partial(max, 1)", "value": "(lambda: 1)() * logits.mean()"}, {"before": "", "value": "(lambda: 2)() * logits.mean()"}),
    ],
)  # fmt: skip
def test_a_component_without_a_file_is_told_by_its_code(before, after):
    filled = [LOSS.format(**({"before": ""} | parts)) for parts in (before, after)]
    first, second = (key_of(source) for source in filled)
    assert first != second
    assert key_of(filled[0]) == first  # the cell run again as it was
    assert key_of(f"# a comment\n{filled[0]}") == first


def test_an_edited_helper_of_a_plugin_is_noticed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    versions = []
    for number, weight in enumerate((1, 1, 2)):
        (tmp_path / "helper_of_helper.py").write_text(f"WEIGHT = {weight}\n")
        (tmp_path / "helper.py").write_text(
            "def f(x):\n    import helper_of_helper as h\n    return h.WEIGHT\n"
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "loss.py").write_text(
            LOSS.format(before="import helper", value="helper.f(1) * logits.mean()")
        )
        load_plugin(folder / "loss.py")
        versions.append(defenses.registry.version("cell-loss"))
        del defenses.registry._classes["cell-loss"]
        sys.modules.pop("helper", None)
    assert versions[0] == versions[1] != versions[2]


def test_weights_that_a_spec_names_are_part_of_the_version(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"one")
    spec = f"resnet18:weights={tmp_path / 'w.pt'}"
    before = models.registry.version(spec)
    (tmp_path / "w.pt").write_bytes(b"two")
    assert before != models.registry.version(spec)


OPERATOR = """
from labelattack import MutationOperator, mutations
from labelattack.mutations.base import cell_masks
from dataclasses import dataclass

@mutations.register("mine")
@dataclass(frozen=True, kw_only=True)
class Mine(MutationOperator):
    def deleted(self, stage, rng):
        return cell_masks(stage)[:, None]  # {number}
"""


def test_a_d_score_of_an_edited_operator_is_measured_again(tmp_path):
    store = RecordStore(tmp_path / "store")
    computed = []
    for number in (1, 1, 2):
        (tmp_path / "operator.py").write_text(OPERATOR.format(number=number))
        for name in [
            name for name in sys.modules if name.startswith("labelattack_plugin_operator")
        ]:
            del sys.modules[name]
        load_plugin(tmp_path / "operator.py")
        score = DScoreSettings(operator="mine", images=10, grid=3)
        job = RunOptions(measures=MeasureRequest.of(score))
        grid = Grid(
            dataset=SMALL_DIGITS, model="tiny", protocol="linear", attacks=("none",),
            defenses=("an",), seeds=(0,), epochs=1, lrs=(1e-3,), batch_sizes=(8,), reference=False,
        )  # fmt: skip
        computed.append(run_grid(grid.cells(load(SMALL_DIGITS).fingerprint), store, job))
    assert computed == [1, 0, 1]
