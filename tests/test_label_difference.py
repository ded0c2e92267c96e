"""What an attack did to labels: counts against plain loops, the picture, the page, the command."""

import base64
import json
import re
import sys
import warnings
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from labelattack import attacks
from labelattack.benchmark.report import label_difference as difference
from labelattack.benchmark.report.html.label_page import write_label_page
from labelattack.benchmark.report.label_difference import State
from labelattack.benchmark.report.label_plots import STATES, difference_figure
from labelattack.errors import LabelAttackError, LabelError, StoreError
from labelattack.labels import PartialLabels
from tests.conftest import exit_code

HOSTILE = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>$\\frac$\u202e名"
)


@st.composite
def pairs(draw):
    """Labels before and after, of any shape; neither is a part of the other."""
    shape = draw(st.tuples(st.integers(0, 6), st.integers(1, 5)))
    one = [draw(arrays(np.bool_, shape)) for _ in range(4)]
    return PartialLabels(*one[:2]), PartialLabels(*one[2:])


def state_of(before, after, image, label):
    known, left = before.observed[image, label], after.observed[image, label]
    value, now = before.values[image, label], after.values[image, label]
    if not known:
        return State.ADDED if left else State.UNKNOWN
    if not left:
        return State.HIDDEN_POSITIVE if value else State.HIDDEN_NEGATIVE
    if value != now:
        return State.CHANGED
    return State.POSITIVE if value else State.NEGATIVE


@settings(max_examples=60, deadline=None)
@given(pairs(), st.sampled_from([1, 7, 1 << 23]))
def test_entries_are_counted_as_loops_count_them(pair, block):
    before, after = pair
    images, labels = before.shape
    table = [[state_of(before, after, i, c) for c in range(labels)] for i in range(images)]
    assert difference.states(before, after).tolist() == table
    old, difference._ENTRIES = difference._ENTRIES, block
    try:
        counts = difference.class_counts(before, after)
        frequent = counts.by_frequency()
        pairs_of = difference.cooccurrence(before, frequent)
        order = difference.sample_images(before, frequent, 100)
    finally:
        difference._ENTRIES = old
    for c in range(labels):
        column = [row[c] for row in table]
        assert counts.positives[c] == sum(before.values[i, c] for i in range(images))
        assert counts.removed_positives[c] == column.count(State.HIDDEN_POSITIVE)
        assert counts.removed_negatives[c] == column.count(State.HIDDEN_NEGATIVE)
        assert counts.changed[c] == column.count(State.CHANGED)
        assert counts.added[c] == column.count(State.ADDED)
    assert list(frequent) == sorted(range(labels), key=lambda c: -counts.positives[c])
    for a, first in enumerate(frequent):
        for b, second in enumerate(frequent):
            both = sum(before.values[i, first] and before.values[i, second] for i in range(images))
            assert pairs_of[a, b] == both

    def place(image):
        row = [bool(before.values[image, c]) for c in frequent]
        return -sum(row), [not there for there in row]

    assert order.tolist() == sorted(range(images), key=place)
    had, has = difference.positives_per_image(before, after)
    for labels_of, histogram in ((before, had), (after, has)):
        found = [int(row.sum()) for row in labels_of.values]
        assert histogram.tolist() == [found.count(n) for n in range(len(histogram))]
    assert len(had) == 1 + max([0, *before.values.sum(1), *after.values.sum(1)])


def test_known_entries_in_a_list_count_as_in_a_matrix():
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(rng.random((50, 40)) < 0.03)
    positive = rng.random(len(rows)) < 0.5
    listed = PartialLabels.from_entries((50, 40), rows, columns, positive)
    dense = PartialLabels(listed.values, listed.observed)
    after = attacks.create("random:rate=0.5")(listed, seed=0)
    one, other = difference.class_counts(listed, after), difference.class_counts(dense, after)
    assert difference.class_table(range(40), one) == difference.class_table(range(40), other)
    assert not one.changed.any() and one.removed_positives.sum() + one.removed_negatives.sum() > 0


def test_classes_are_sorted_by_share_and_those_without_positives_come_last():
    before = PartialLabels.full(np.array([[1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=bool))
    left = np.ones((3, 4), dtype=bool)
    left[:2, 0] = left[0, 2] = left[2, 2] = False
    after = PartialLabels(before.values, left)
    rows = difference.class_table(list("abcd"), difference.class_counts(before, after))
    assert [(row["class"], row["share"]) for row in rows] == [
        ("a", 2 / 3), ("c", 0.5), ("d", 0.0), ("b", None),
    ]  # fmt: skip
    assert rows[1]["removed_negatives"] == 1 and "added" not in rows[0]


def test_a_sample_is_spaced_evenly_and_says_so():
    labels = np.zeros((1000, 3), dtype=bool)
    labels[:100, 0] = True
    before = PartialLabels.full(labels)
    rows = difference.sample_images(before, np.arange(3), 10)
    assert len(rows) == 10 and labels[rows, 0].sum() == 1
    assert difference.remarks((1000, 3), 10, 3, "matrix") == [
        "matrix: 10 of 1,000 images, evenly spaced in the order of number of positives and pattern"
    ]
    sample = difference.matrix_sample(before, before, np.array([2, 0]), rows)
    assert sample.after.tolist() == [
        [State.POSITIVE if labels[i, c] else State.NEGATIVE for c in (2, 0)] for i in rows
    ]


def test_labels_of_other_shapes_are_refused():
    one, other = (PartialLabels.full(np.ones((n, 2), dtype=bool)) for n in (2, 3))
    with pytest.raises(LabelError, match=r"must have the shape of those before, \(2, 2\), got \(3"):
        difference.class_counts(one, other)


def some_labels(images=30, labels=5):
    rng = np.random.default_rng(1)
    before = PartialLabels(rng.random((images, labels)) < 0.4, rng.random((images, labels)) < 0.9)
    flipped = before.values ^ (rng.random((images, labels)) < 0.2)
    return before, PartialLabels(flipped, rng.random((images, labels)) < 0.5)


@pytest.mark.parametrize("shape", [(0, 2), (1, 1), (30, 5)])
def test_pictures_are_drawn_of_any_labels(shape):
    before, after = some_labels(*shape)
    names = [f"{HOSTILE}{n}" for n in range(shape[1])]
    figure, remarks = difference_figure(before, after, names, HOSTILE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(BytesIO(), format="png", dpi=20)
    assert remarks == []
    legend = [text.get_text() for place in figure.subfigs for key in place.legends
              for text in key.get_texts()]  # fmt: skip
    there = {State(n) for n in np.unique(difference.states(before, after))}
    there |= {State(n) for n in np.unique(difference.states(before, before))}
    assert legend == [name for state, (name, _) in STATES.items() if state in there]


def test_states_have_colours_of_their_own():
    assert set(STATES) == set(State)
    assert len({colour for _, colour in STATES.values()}) == len(State)


def test_a_page_holds_its_picture_and_numbers_and_names_stay_text(tmp_path):
    before, after = some_labels()
    names = [f"{HOSTILE}{n}" for n in range(5)]
    page = tmp_path / "page.html"
    write_label_page(page, [("attack", HOSTILE), ("seed", "3")], before, after, names)
    text, picture = page.read_text(), (tmp_path / "page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert base64.b64decode(re.search(r"base64,([^\"]+)", text)[1]) == picture
    assert len(re.findall("<script", text)) == 2 and "<img src=x" not in text
    assert text.count("sha256-") == 1 and "plotly" not in text
    data = json.loads(re.search(r'class="data">(.*?)</script>', text)[1])
    counts = difference.class_counts(before, after)
    assert data == json.loads(json.dumps(difference.class_table(names, counts)))
    assert "<dt>seed</dt><dd>3</dd>" in text
    write_label_page(page, [("attack", HOSTILE), ("seed", "3")], before, after, names)
    assert page.read_text() == text and (tmp_path / "page.png").read_bytes() == picture


def test_a_page_needs_jinja_and_a_name_in_html(tmp_path, monkeypatch):
    labels = some_labels()
    with pytest.raises(StoreError, match=r"must end in .html, got '.*page.txt'"):
        write_label_page(tmp_path / "page.txt", [("attack", "a")], *labels, list("abcde"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(LabelAttackError, match=r"jinja2.*pip install 'labelattack\[report\]'"):
        write_label_page(tmp_path / "page.html", [("attack", "a")], *labels, list("abcde"))
    assert not list(tmp_path.iterdir())


def write_labels_csv(folder):
    rows = ["image,cat,dog"] + [f"{n}.jpg,{n % 2},{int(n % 3 == 0)}" for n in range(12)]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def test_the_command_says_where_the_page_is(tmp_path, monkeypatch, capsys):
    write_labels_csv(tmp_path)
    arguments = ["attack", "labels.csv", "--out", "part.csv", "--report", "page.html"]
    assert exit_code(monkeypatch, tmp_path, arguments) == 0
    assert "part.csv (missing), part.csv.manifest.json, page.html, page.png" in (
        capsys.readouterr().out
    )
    text = (tmp_path / "page.html").read_text()
    account = json.loads((tmp_path / "part.csv.manifest.json").read_text())
    assert f"<dd>{account['removed_positives']} of {account['positives']} (" in text
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.width > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "page.htm"], "the report of an attack must end in .html, got 'page.htm'"),
        (["--report", "m.html", "--manifest", "m.html"], "the report must not be written over the"),
        (["--report", "m.html", "--manifest", "m.png"], "the picture of the report must not be"),
    ],
)
def test_a_page_overwrites_no_other_file(tmp_path, monkeypatch, capsys, arguments, message):
    write_labels_csv(tmp_path)
    code = exit_code(monkeypatch, tmp_path, ["attack", "labels.csv", "--out", "p.csv", *arguments])
    assert code == 2 and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
