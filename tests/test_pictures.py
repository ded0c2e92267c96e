"""Pictures leave the caller's matplotlib as it was, and are written whole."""

import json

import matplotlib
import pytest
from matplotlib import pyplot

from labelattack.benchmark.boards.leaderboard import Board, boards
from labelattack.benchmark.report.plots import draw_curves, draw_pixels
from labelattack.errors import StoreError
from labelattack.measures._d_score.plots import Point, draw_scatter
from tests.test_gate import runs


@pytest.fixture
def board(pytestconfig):
    path = pytestconfig.rootpath / "benchmarks/results/pixels/digits.json"
    (found,) = json.loads(path.read_text(encoding="utf-8"))
    rows = [{k: v for k, v in row.items() if k != "d_score"} for row in found["rows"]]
    return Board(**{**found, "rows": rows})


def curves(path, _):
    (board,) = boards(runs([60.0, 50.0]))
    draw_curves(path, board)


def scatter(path, _):
    draw_scatter(path, [Point("a", "b", 0.1, 0.9, None, None)], "title")


@pytest.mark.parametrize("draw", [curves, draw_pixels, scatter])
def test_the_callers_backend_and_figures_stay(tmp_path, board, draw):
    before = matplotlib.get_backend()
    pyplot.switch_backend("svg")
    mine = pyplot.figure()
    try:
        draw(tmp_path / "new" / "x.png", board)
        assert matplotlib.get_backend() == "svg" and pyplot.gcf() is mine
        assert [pyplot.figure(number) for number in pyplot.get_fignums()] == [mine]
    finally:
        pyplot.close(mine)
        pyplot.switch_backend(before)
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_format_that_there_is_not_is_said(tmp_path, board):
    with pytest.raises(StoreError, match=r"must end in .*\.png"):
        draw_pixels(tmp_path / "x.txt", board)
    assert list(tmp_path.iterdir()) == []


def test_without_a_format_a_picture_is_a_png(tmp_path, board):
    draw_pixels(tmp_path / "x", board)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, board, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(StoreError, match="disk is full"):
        draw_pixels(path, board)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
