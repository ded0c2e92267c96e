"""Audit of a stranger's label file: from a folder of photos to new labels."""

import csv
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelattack.audit.candidates import candidates_of, doubted, most_likely, without
from labelattack.audit.page import MOST_SHOWN, thumbnail, write_page
from labelattack.audit.review import after_review, write_findings
from labelattack.audit.run import Audit, Finding
from labelattack.audit.scores import loss_of, out_of_fold
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.errors import LabelAttackError, LabelError, ParameterError
from labelattack.labels import LabelTable, PartialLabels, read_labels
from labelattack.models import registry as models
from tests.conftest import exit_code

CLASSES = ["rouge; vif", "</script><b>", "蓝色"]


@pytest.fixture
def folder(tmp_path):
    """Photos with coloured squares, and labels of which some are missing, as a spreadsheet saves."""
    (tmp_path / "photos" / "Straße").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for number in range(24):
        there = rng.random(3) < 0.5
        pixels = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)
        for column in np.flatnonzero(there):
            pixels[:, 5 * column : 5 * column + 5, column] = 255
        name = f"Straße/bild ñ{number}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
        rows.append([name, *(there & (rng.random(3) < 0.7)).astype(int)])
    with (tmp_path / "labels.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([["Datei", *CLASSES], *rows])
    return tmp_path


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


AUDIT = ("audit", "labels.csv", "photos", "--model", "tiny", "--folds", "2", "--jobs", "1")


def test_from_photos_to_new_labels(folder, monkeypatch, capsys):
    assert exit_code(monkeypatch, folder, (*AUDIT, "--top", "9", "--html", "page.html")) == 0
    assert "first 9 of 9 entries" in capsys.readouterr().out
    before = read_labels(folder / "labels.csv", "binary")
    rows = rows_of(folder / "audit.csv")
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, 10)]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    places = [(before.ids.index(r["image"]), before.classes.index(r["class"])) for r in rows]
    assert len(set(places)) == 9
    assert not any(before.labels.values[place] for place in places)
    assert {row["status"] for row in rows} == {"negative"} and {r["verdict"] for r in rows} == {""}

    page = (folder / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'class="data">(.*?)</script>', page)[1])
    assert [e["image"] for e in data["entries"]] == [row["image"] for row in rows]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in data["pictures"])
    assert "<b>" not in page and "http://" not in page.replace("http://www.w3.org", "")

    for row, verdict in zip(rows, ("yes", "No"), strict=False):
        row["verdict"] = verdict
    with (folder / "reviewed.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    back = ("audit", "labels.csv", "--verdicts", "reviewed.csv", "--labels-out")
    assert exit_code(monkeypatch, folder, (*back, "new.csv")) == 0
    after = read_labels(folder / "new.csv", "binary")
    changed = np.argwhere(after.labels.values != before.labels.values)
    assert [tuple(place) for place in changed] == places[:1]
    # In an encoding that can say so, only what was reviewed is known to be negative.
    assert exit_code(monkeypatch, folder, (*back, "m.csv", "--encoding", "missing")) == 0
    after = read_labels(folder / "m.csv", "missing")
    assert [tuple(place) for place in np.argwhere(after.labels.negatives)] == places[1:2]
    assert np.array_equal(
        after.labels.values, read_labels(folder / "new.csv", "binary").labels.values
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--defense", "bce"), "defense 'bce' cannot: it is an oracle"),
        (("--defense", "vlpl"), "needs scores of another model"),
        (("--defense", "role"), "role:expected_positives=K"),
        (("--defense", "boostlu"), "scales activations"),
        (("--folds", "99"), "folds must be 2 to 24"),
        (("--labels-encoding", "missing"), "got none hidden; encoding 'binary' doubts negatives"),
        (("--labels-encoding", "bin"), "unknown label encoding 'bin'"),
        (("--out", "labels.csv"), "must not be written over the labels"),
        (("--html", "page.htm"), "must end in .html"),
        (("--groups", "no.csv"), "file of groups 'no.csv' is not there"),
        (("--table", "encoding=nan"), "use --labels-encoding"),
        (("--table", "splits=a.csv"), "an audit divides nothing"),
        (("--verdicts", "audit.csv"), "--verdicts must come with --labels-out"),
        (("--encoding", "nan"), "must come with --verdicts"),
        (("--model", "tinny"), "did you mean 'tiny'"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(
    folder, monkeypatch, capsys, count_training, options, says
):
    trained = count_training()
    assert exit_code(monkeypatch, folder, (*AUDIT, *options)) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not trained and not (folder / "audit.csv").exists()


def test_an_unreadable_image_is_said_before_anything_is_trained(
    folder, monkeypatch, capsys, count_training
):
    trained = count_training()
    (folder / "photos" / "Straße" / "bild ñ3.png").write_bytes(b"no image")
    assert exit_code(monkeypatch, folder, AUDIT) == 2
    assert "bild ñ3.png' cannot be read" in capsys.readouterr().err and not trained


TABLE = LabelTable(
    PartialLabels(
        np.array([[True, False], [False, False]]), np.array([[True, True], [False, False]])
    ),
    ["ä.png", "b/c.png"],
    ["cat", "dog"],
)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["ä.png,cat,no"], "line 2: a verdict must not contradict a known label, got 'no' for class 'cat' of image 'ä.png', which the labels have as positive"),
        (["ä.png,dog,yes"], "which the labels have as negative"),
        (["b/c.png,cat,yes", "./b/c.png,cat,no"], "got 'yes' at line 2 and 'no' at line 3"),
        (["b/c.png,cat,maybe"], "line 2: a verdict must be yes, no or empty, got 'maybe'"),
        (["b/d.png,cat,yes"], "line 2: unknown image 'b/d.png'; did you mean 'b/c.png'"),
        (["b/c.png,bat,yes"], "line 2: unknown class 'bat'; did you mean 'cat'"),
        (["b/c.png,cat,"], "got an empty one everywhere"),
        (["b/c.png,cat"], "line 2 must have 3 cells"),
    ],
)  # fmt: skip
def test_wrong_verdicts_are_refused_with_their_place(tmp_path, lines, says):
    path = tmp_path / "v.csv"
    path.write_text("\n".join(["image,class,verdict", *lines]), encoding="utf-8")
    with pytest.raises(LabelError, match=re.escape(says)):
        after_review(path, TABLE, doubted(TABLE.labels, "missing"), "missing")


def test_verdicts_make_hidden_entries_known(tmp_path):
    path = tmp_path / "v.csv"
    lines = ("image,class,verdict", "b/c.png,cat,yes", "b/c.png,dog,no", "ä.png,cat,yes")
    path.write_text("\n".join(lines), encoding="utf-8")
    found = after_review(path, TABLE, doubted(TABLE.labels, "missing"), "missing")
    assert found.table.labels == PartialLabels.full(np.array([[True, False], [True, False]]))
    assert (found.yes, found.no) == (2, 1)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_most_likely_are_those_of_a_loop(seed, top):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((5, 3)), 1).astype(np.float32)
    labels = PartialLabels(rng.random((5, 3)) < 0.4, rng.random((5, 3)) < 0.6)
    for encoding in ("binary", "missing"):
        wanted = [
            (-float(scores[row, column]), row, column)
            for row in range(5) for column in range(3)
            if not labels.observed[row, column]
            or (encoding == "binary" and not labels.values[row, column])
        ]  # fmt: skip
        rows, columns = most_likely(scores, doubted(labels, encoding), top)
        assert list(zip(rows, columns, strict=True)) == [e[1:] for e in sorted(wanted)[:top]]


def test_negatives_of_a_binary_file_are_not_told_to_the_loss():
    labels = PartialLabels.full(np.array([[True, False], [False, True]]))
    left = without(labels, candidates_of(labels, "binary"))
    assert left == PartialLabels(labels.values, labels.values)
    with pytest.raises(LabelError, match="positives to learn from"):
        candidates_of(PartialLabels.full(np.zeros((2, 2), dtype=bool)), "binary")


def test_scores_of_an_image_do_not_depend_on_its_labels():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (12, 8, 8)).astype(np.uint8)
    values = rng.random((12, 2)) < 0.5
    groups = [str(n // 2) for n in range(12)]
    others = values.copy()
    others[:2] = ~others[:2]  # the images of one group

    def scores(values):
        split = Split(
            ArrayImages(pixels),
            PartialLabels.full(values),
            list(map(str, range(12))),
            groups=groups,
        )
        return out_of_fold(split, "an", models.resolve("tiny"), folds=2)

    first, second = scores(values), scores(others)
    assert np.array_equal(first[:2], second[:2]) and not np.array_equal(first, second)


def test_a_loss_may_take_a_side_table_from_a_file(tmp_path):
    values = np.eye(2, dtype=bool)
    split = Split(ArrayImages(np.zeros((2, 4, 4), dtype=np.uint8)), values, ["a", "b"])
    split.partial = split.partial.named(["a", "b"], ["x", "y"])
    path = tmp_path / "scores.csv"
    path.write_text("id,x,y\na,0.1,0.2\nb,0.3,0.4\n")
    loss_of(split, f"vlpl:scores={path}")
    with pytest.raises(ParameterError, match="try pseudo-history"):
        loss_of(split, "vlpl")


def test_a_page_shows_no_more_than_it_can(tmp_path):
    images = ArrayImages(np.zeros((3, 300, 200), dtype=np.uint8))
    many = MOST_SHOWN + 5
    found = [Finding(n + 1, f"{n % 3}.png", "cat", 0.5, "hidden", n % 3) for n in range(many)]
    write_page(tmp_path / "page.html", Audit(found, 999), images, [("labels", "<i>.csv")])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"The first {MOST_SHOWN} of {many} entries" in " ".join(page.split())
    assert "&lt;i&gt;.csv" in page and page.count("data:image/jpeg") == 3
    with pytest.raises(LabelAttackError, match="must end in .html"):
        write_page(tmp_path / "page.txt", Audit(found, 999), images, [])
    assert len(thumbnail(images[0])) < 5000


def test_names_with_signs_survive_the_file(tmp_path):
    names = ['a "b".png', "ü,;.png"]
    write_findings(
        tmp_path / "a.csv",
        [Finding(n + 1, name, "x\ty;z", 0.5, "hidden", n) for n, name in enumerate(names)],
    )
    rows = rows_of(tmp_path / "a.csv")
    assert [(row["image"], row["class"]) for row in rows] == [(n, "x\ty;z") for n in names]
