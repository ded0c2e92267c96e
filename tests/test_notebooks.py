"""The notebooks of the documentation run from top to bottom."""

import ast
import json
import warnings
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path, tmp_path, monkeypatch, forgotten):
    """In this process, which has torch loaded; what a cell ends with is shown, as a kernel does."""
    if "lightning" in path.stem:
        pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    with warnings.catch_warnings():
        for number, cell in enumerate(cells):
            *statements, last = ast.parse("".join(cell["source"])).body
            shown = isinstance(last, ast.Expr)
            body = statements if shown else [*statements, last]
            where = f"{path.name}, cell {number}"
            exec(compile(ast.Module(body, []), where, "exec"), names)
            if shown:
                value = eval(compile(ast.Expression(last.value), where, "eval"), names)
                assert getattr(value, "_repr_html_", value.__repr__)() or repr(value)
    assert cells[-1]["outputs"]
