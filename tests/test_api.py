"""The benchmark from Python, from scripts and from notebooks."""

import csv
import inspect
import io
import os
import re
import subprocess
import sys
import typing

import pytest
import torch

import labelattack
from labelattack.api import Results
from labelattack.benchmark.execution import run
from labelattack.benchmark.plan.config import Experiment
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import LabelAttackError, ParameterError, StoreError, UnknownNameError
from labelattack.registry.installation import edits_behind
from labelattack.training.recipe import SearchSpace
from tests.conftest import SMALL_DIGITS

SMALL = {
    "datasets": [SMALL_DIGITS], "defenses": ["an"], "attacks": ["targeted:rate=0.4"], "lrs": [0.01],
    "seeds": 2, "epochs": 1, "d_score": "none", "jobs": 1, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "store"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LABELATTACK_CACHE", str(folder.parent / "cache"))
        patched.setattr("labelattack.registry.installation.edited_files", frozenset)
        edits_behind.cache_clear()
        labelattack.bench(**SMALL, out=folder)
    return folder


def test_arguments_are_the_keys_of_a_config_with_their_defaults():
    taken = dict(inspect.signature(labelattack.bench).parameters)
    further = SearchSpace.model_fields.keys() - {"lrs", "batch_sizes"}
    assert taken.pop("hyper_parameters").kind is inspect.Parameter.VAR_KEYWORD
    for name, field in Experiment.model_fields.items():
        if name in further:
            continue
        assert taken[name].default == field.default, name
        assert f"        {name}: " in labelattack.bench.__doc__
    assert all(p.kind is p.KEYWORD_ONLY for p in taken.values())


def test_bench_leaves_torch_its_threads(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        labelattack.bench(**SMALL | {"seeds": 1}, out=tmp_path / "store")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_bench_computes_only_what_is_missing(store):
    again = labelattack.bench(**SMALL, out=str(store))
    assert (again.computed, len(again.records), again.failed) == (0, 4, [])
    more = labelattack.bench(**SMALL | {"seeds": 3}, out=store)
    assert (more.computed, len(more.records)) == (2, 6)


def test_a_config_gives_what_is_left_out(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        run, "run_experiment",
        lambda experiment, *_, **__: (seen.append(experiment), run.Outcome([], [], 0))[1],
    )  # fmt: skip
    path = tmp_path / "grid.toml"
    path.write_text('seeds = 5\nattacks = ["random"]\n[scale.big]\nseeds = 9\n')
    labelattack.bench(config=path, seeds=3, progress=False)  # 3 is the default, and counts
    labelattack.bench(config=str(path), scale="big", defenses=("an",), progress=False)
    assert [(e.seeds, e.attacks) for e in seen] == [(3, ("random",)), (9, ("random",))]
    with pytest.raises(ParameterError, match="scale needs a config"):
        labelattack.bench(scale="big")
    path.write_text("sedes = 5\n")
    with pytest.raises(UnknownNameError, match="did you mean 'seeds'"):
        labelattack.bench(config=path)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"attacks": ["targetted"]}, UnknownNameError, "did you mean 'targeted'"),
        ({"executor": "lokal"}, UnknownNameError, "did you mean 'local'"),
        ({"trackers": ["tensorbord"]}, UnknownNameError, "did you mean 'tensorboard'"),
        ({"seeds": 0}, ParameterError, "seeds must be greater than or equal to 1, got 0"),
        ({"jobs": 0}, ParameterError, "jobs must be at least 1, got 0"),
        ({"protocol": "linaer"}, UnknownNameError, "did you mean .linear."),
        ({"sedes": 3}, UnknownNameError, "argument .*did you mean 'seeds'"),
    ],
)
def test_wrong_names_leave_no_store_behind(tmp_path, wrong, error, message):
    with pytest.raises(error, match=message):
        labelattack.bench(**SMALL | wrong, out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_failed_cells_warn_and_stay(tmp_path, forgotten):
    from labelattack import PartialLabelLoss, defenses

    @defenses.register("always-raises")
    class Raises(PartialLabelLoss):
        def loss(self, logits, step):
            raise ValueError("<b>no</b>")

    with pytest.warns(UserWarning, match="always-raises under .*no") as told:
        results = labelattack.bench(**SMALL | {"defenses": ["always-raises"]}, out=tmp_path / "s")
    assert told[0].filename == __file__
    assert len(results.failed) == 2 and len(results.records) == 4
    assert "2 failed" in repr(results)
    assert "&lt;b&gt;no" in results._repr_html_() and "<b>" not in results._repr_html_()


def test_an_interrupt_leaves_what_is_finished(tmp_path, monkeypatch):
    add = RecordStore.add

    def add_one(self, record):
        add(self, record)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RecordStore, "add", add_one)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            labelattack.bench(**SMALL, out=tmp_path / "store")
    assert (interrupt.value.finished, interrupt.value.total) == (1, 4)
    assert labelattack.bench(**SMALL, out=tmp_path / "store").computed == 3


# --- results


def test_formats_are_those_of_the_command_line(store, monkeypatch, capsys):
    from tests.conftest import exit_code

    results = labelattack.open(store)
    for format, text in (
        ("csv", results.to_csv()), ("markdown", results.to_markdown()), ("json", results.to_json())
    ):  # fmt: skip
        assert exit_code(monkeypatch, store, ["show", store, "--format", format]) == 0
        assert capsys.readouterr().out.strip() == text.strip()


def test_data_frames(store):
    pytest.importorskip("pandas")
    results = labelattack.open(str(store))
    wide = results.to_dataframe()
    header = next(csv.reader(io.StringIO(results.to_csv())))
    assert list(wide.columns) == header
    assert list(wide["map"]) == [row.map for board in results.boards for row in board.rows]
    long = results.to_dataframe(long=True)
    assert {"attack", "defense", "metric", "value", "interval", "seeds"} <= set(long.columns)
    assert set(long["metric"]) >= {"map", "to_reference"}
    by_hand = long[(long.defense == "bce") & (long.metric == "map")]
    assert list(by_hand["value"]) == list(wide[wide.defense == "bce"]["map"])


def test_a_missing_pandas_is_said(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LabelAttackError, match=r"pip install 'labelattack\[dataframe\]'"):
        labelattack.open(store).to_dataframe()


def test_html_is_well_formed_and_escaped(store):
    from xml.etree import ElementTree

    html = labelattack.open(store)._repr_html_()
    tree = ElementTree.fromstring(f"<div>{html.replace('<br>', '<br/>')}</div>")
    heads = ["".join(cell.itertext()) for cell in tree.iter("th")]
    assert heads[:3] == ["attack", "defense", "mAP"] and "evasion" not in heads
    record = labelattack.open(store).records[0]
    cell = record.cell.model_copy(update={"dataset": "<script>", "defense": "<img>"})
    html = Results([record.model_copy(update={"cell": cell})])._repr_html_()
    assert "<script>" not in html and "<img>" not in html and "&lt;script&gt;" in html
    assert "no finished cell" in Results([])._repr_html_()


def test_pictures_and_pages(store, tmp_path):
    results = labelattack.open(store)
    figure = results.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000 and figure.axes
    assert results.plot().axes
    pytest.importorskip("plotly")
    results.report(tmp_path / "page.html")
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(StoreError, match="attack with a rate"):
        Results([r for r in results.records if r.cell.attack == "none"]).plot()


def test_texts(store, tmp_path):
    assert re.match(
        r"Results of \d cells in '.*'\n  digits.*: \d rows", repr(labelattack.open(store))
    )
    with pytest.raises(StoreError, match="must be a store"):
        labelattack.open(tmp_path)


def test_check_is_that_of_the_command_line(store, tmp_path, monkeypatch):
    from tests.conftest import exit_code

    baseline = tmp_path / "baseline.json"
    command = ["check", store, "--update", "--baseline", baseline]
    assert exit_code(monkeypatch, tmp_path, command) == 0
    for results in (store, labelattack.open(store)):
        found = labelattack.check(results, baseline, tolerance=1.0)
        assert found.exit_code == 0 and found.limits.tolerance == 1
    with pytest.raises(UnknownNameError, match="did you mean 'tolerance'"):
        labelattack.check(store, baseline, tolerence=1.0)
    with pytest.raises(ParameterError, match="alpha must be"):
        labelattack.check(store, baseline, alpha=7)


# --- the module


def test_importing_the_package_is_light_and_a_star_hides_no_builtin():
    code = (
        "import sys, labelattack, builtins\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "from labelattack import *\n"
        "assert open is builtins.open and callable(bench) and Results and RecordStore\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_a_store_needs_no_torch(store):
    code = (
        "import sys, labelattack\n"
        f"results = labelattack.open({str(store)!r})\n"
        "assert results._repr_html_() and repr(results) and results.to_csv()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_annotations_can_be_read():
    assert typing.get_type_hints(labelattack.open)


# --- kernels: ``__main__`` has no file, as in IPython and on standard input

CELL = """
import labelattack
{component}
results = labelattack.bench(
    datasets=["digits:train=60,val=30,test=40"], defenses={defenses}, lrs=[0.01], seeds=2,
    epochs=1, d_score="none", progress=False, {more}
)
print(len(results.records), len(results.failed), results.notes)
"""
COMPONENT = """
from labelattack import PartialLabelLoss, defenses
@defenses.register("of-a-cell")
class OfACell(PartialLabelLoss):
    def loss(self, logits, step):
        return logits.mean()
"""


def kernel(folder, script):
    return subprocess.run(
        [sys.executable, "-"], input=script, cwd=folder, text=True,
        capture_output=True, check=False,
        env=os.environ | {"LABELATTACK_CACHE": str(folder / "cache")},
    )  # fmt: skip


def test_a_kernel_runs_components_of_a_cell_in_one_process(tmp_path):
    """And, when a cell is run again, computes what its new code comes to."""
    first, shell, several = (
        "__name__ = '__main__'\n" + CELL.format(component=COMPONENT, defenses=["of-a-cell"], more=more)
        for more in ("", "jobs=1", "jobs=2, out='other'")
    )  # fmt: skip
    edited = shell.replace("logits.mean()", "logits.mean() * 2")
    script = (
        f"for cell in {(first, edited, shell, several)!r}:\n"
        "    exec(compile(cell, '<cell>', 'exec'), globals())\n"
        "    print(results.computed)\n"
    )
    done = kernel(tmp_path, script)
    results, computed = done.stdout.splitlines()[0::2], done.stdout.splitlines()[1::2]
    assert results[0].startswith("4 0 ["), done.stderr
    if (os.cpu_count() or 1) > 1:
        assert "one process runs everything: defense 'of-a-cell'" in results[0]
    assert [line.split()[0] for line in results] == ["4", "4", "4"], done.stderr
    assert computed == ["4", "2", "0"], done.stdout
    # Several processes would not know it.
    assert done.returncode
    assert "LabelAttackError: defense 'of-a-cell' must be in a plug-in file" in done.stderr
    assert "or use one job" in done.stderr


def test_a_kernel_runs_built_in_components_and_those_of_files_in_several_processes(tmp_path):
    (tmp_path / "mine.py").write_text(COMPONENT)
    more = "jobs=2, plugins=['mine.py']"
    done = kernel(tmp_path, CELL.format(component="", defenses=["an", "of-a-cell"], more=more))
    assert done.stdout.startswith("6 0 []"), done.stderr
