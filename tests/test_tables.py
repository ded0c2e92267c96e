"""Tables on narrow terminals and in pipes: no word is broken, colours only where they are wanted."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack.cli._console import print_table
from labelattack.cli._tables import column_widths, stacked
from tests.conftest import exit_code

STORE = Path(__file__).parent / "golden/store"
TEXTS = st.text(st.sampled_from("ab1 ±-\n"), max_size=12)
TABLES = st.integers(1, 5).flatmap(
    lambda count: st.lists(st.lists(TEXTS, min_size=count, max_size=count), min_size=1, max_size=5)
)


def longest_word(column):
    return max((len(word) for text in column for word in text.split()), default=0)


@given(TABLES, st.integers(1, 60), st.integers(0, 2))
def test_every_column_has_room_for_its_words_or_there_is_no_table(table, room, rigid):
    columns, *rows = table
    found = column_widths(columns, rows, room, rigid=min(rigid, len(columns)))
    words = [longest_word(column) for column in zip(columns, *rows, strict=True)]
    if found is None:
        assert sum(words) > room
        return
    assert sum(found) <= room
    assert all(width >= word for width, word in zip(found, words, strict=True))
    whole = [
        max(len(line) for t in c for line in t.split("\n"))
        for c in zip(columns, *rows, strict=True)
    ]
    assert all(width <= most for width, most in zip(found, whole, strict=True))
    assert sum(found) == min(room, sum(whole))


def test_rigid_columns_and_intervals_stay_whole_while_there_is_room():
    columns, rows = ("name", "value", "note"), [["a b c d", "1.0 ± 0.1", "x y z x y z"]]
    assert column_widths(columns, rows, 23, rigid=1) == [7, 9, 7]
    assert column_widths(columns, rows, 18, rigid=1)[1] == 9
    assert column_widths(columns, rows, 13) == [4, 5, 4]
    assert column_widths(columns, rows, 12) is None


def test_blocks_name_each_cell_and_repeat_what_was_left_out():
    lines = list(stacked(("attack", "x"), [["a", "1"], ["", "one two three four"], ["b", ""]], 20))
    assert lines == [
        "attack  a", "x       1", "", "attack  a", "x       one two", "        three four", "",
        "attack  b", "",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("command", [["show", STORE], ["list"], ["store", "ls", STORE]])
def test_no_name_or_number_is_cut(monkeypatch, tmp_path, capsys, command, width):
    monkeypatch.setenv("COLUMNS", "1000")
    assert exit_code(monkeypatch, tmp_path, command) == 0
    words = set(capsys.readouterr().out.split())
    monkeypatch.setenv("COLUMNS", str(width))
    assert exit_code(monkeypatch, tmp_path, command) == 0
    out = capsys.readouterr().out
    short = {word for word in words if len(word) <= width - 16 and not set(word) <= set("─-")}
    assert short <= set(out.split())
    # Remarks below a board are sentences, which a terminal wraps; tables are not longer than it.
    tables = [
        line for line in out.splitlines() if "  " in line and not re.search(r"[a-z]{3}: ", line)
    ]
    assert max(map(len, tables)) <= width


def printed(capsys):
    print_table("title", ("one", "two"), [["a", "b"]])
    return capsys.readouterr().out


def test_colours_are_for_terminals_unless_they_are_forced(monkeypatch, capsys):
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b" not in printed(capsys)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in printed(capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\d", printed(capsys).replace("\x1b[3m", ""))
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in printed(capsys)
