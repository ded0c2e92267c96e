"""Files of side tables: each kind, in any order, and each refusal."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from labelattack import defenses
from labelattack.defenses import side
from labelattack.defenses.base import Task, to_step
from labelattack.errors import DefenseError, LabelAttackError, LabelError
from labelattack.labels import PartialLabels, SideTables
from labelattack.labels.side_files import read_groups, read_parents, read_priors, read_scores

IDS = ["a/1.jpg", "b/2.jpg", "3.jpg"]
CLASSES = ["cat", "dog", "owl"]
SCORES = np.array([[0.0, 0.25, 0.5], [1.0, 0.125, 0.75], [0.5, 0.5, 1e-3]], dtype=np.float32)
ROWS, COLUMNS = [2, 0, 1], [1, 2, 0]


def rows(ids=IDS, classes=CLASSES, scores=SCORES):
    return [["image", *classes], *([name, *line] for name, line in zip(ids, scores, strict=True))]


def write_scores(path, ids, classes, scores):
    if path.suffix == ".npz":
        np.savez(path, scores=scores, image_id=np.array(ids), classes=np.array(classes))
    elif path.suffix == ".parquet":
        columns = {"image": ids, **dict(zip(classes, np.asarray(scores).T, strict=True))}
        pq.write_table(pa.table(columns), path)
    else:
        sign = "\t" if path.suffix == ".tsv" else ","
        lines = [sign.join(map(str, line)) for line in rows(ids, classes, np.asarray(scores))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz"])
def test_scores_are_matched_by_name(tmp_path, suffix):
    path = tmp_path / f"scores{suffix}"
    write_scores(path, IDS, CLASSES, SCORES)
    found = read_scores(path, IDS, CLASSES)
    assert found.dtype == np.float32 and np.array_equal(found, SCORES)
    ids, classes = [IDS[n] for n in ROWS], [CLASSES[n] for n in COLUMNS]
    write_scores(path, [*ids, "more.jpg"], classes, [*SCORES[ROWS][:, COLUMNS], [0.5, 0.5, 0.5]])
    assert np.array_equal(read_scores(path, IDS, CLASSES), SCORES)
    assert np.array_equal(read_scores(path, ["./b//2.jpg"], CLASSES), SCORES[1:2])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz"])
def test_wrong_names_in_scores_are_refused(tmp_path, suffix):
    path = tmp_path / f"scores{suffix}"
    write_scores(path, IDS[:2], CLASSES, SCORES[:2])
    with pytest.raises(LabelError, match=r"must have every image.*none for '3\.jpg'"):
        read_scores(path, IDS, CLASSES)
    write_scores(path, IDS, CLASSES[:2], SCORES[:, :2])
    with pytest.raises(LabelError, match=r"must have every class.*none for 'owl'"):
        read_scores(path, IDS, CLASSES)
    write_scores(path, IDS, [*CLASSES, "ow"], np.c_[SCORES, SCORES[:, 0]])
    with pytest.raises(LabelError, match=r"no class without labels, got 'ow'.*'owl'\?"):
        read_scores(path, IDS, CLASSES)
    write_scores(path, [IDS[0], *IDS[:2]], CLASSES, SCORES)
    with pytest.raises(LabelError, match=r"an image must occur once, got 'a/1\.jpg' at (row|line)"):
        read_scores(path, IDS[:2], CLASSES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.25, 1.5])
@pytest.mark.parametrize(
    ("suffix", "place"),
    [(".csv", "line 3"), (".tsv", "line 3"), (".parquet", "row 2"), (".npz", "row 1")],
)
def test_values_outside_are_refused_with_their_place(tmp_path, suffix, place, value):
    scores = SCORES.astype(float)
    scores[1, 2] = value
    path = write_scores(tmp_path / f"scores{suffix}", IDS, CLASSES, scores)
    wanted = rf"from 0 to 1, got '?{value}'? at {place}, column 'owl' \(1 such\)"
    with pytest.raises(LabelError, match=wanted):
        read_scores(path, IDS, CLASSES)
    with pytest.raises(LabelError, match="from 0 to 1"):  # of an image that is not wanted, too
        read_scores(path, IDS[:1], CLASSES)


@pytest.mark.parametrize("cell", ["", "high", "0,5"])
def test_text_that_is_no_number_is_refused(tmp_path, cell):
    path = text(tmp_path / "scores.csv", f'image,cat\n1,0.5\n2,"{cell}"\n')
    with pytest.raises(LabelError, match=f"got '{cell}' at line 3, column 'cat'"):
        read_scores(path, ["1", "2"], ["cat"])
    table = pa.table({"image": [1, 2], "cat": pa.array([0.5, None])})
    pq.write_table(table, tmp_path / "scores.parquet")
    with pytest.raises(LabelError, match="got None at row 2, column 'cat'"):
        read_scores(tmp_path / "scores.parquet", ["1", "2"], ["cat"])


def test_arrays_must_name_and_fit(tmp_path):
    path = tmp_path / "scores.npz"
    for arrays, wanted in (
        ({"labels": SCORES}, "expected an array 'scores', got labels"),
        ({"scores": SCORES}, "got no array 'image_id'"),
        ({"scores": SCORES, "image_id": np.array(IDS)}, "got no array 'classes'"),
        (
            {"scores": SCORES[:2], "image_id": np.array(IDS), "classes": np.array(CLASSES)},
            r"3 images and 3 classes, got float32 \(2, 3\)",
        ),
        (
            {"scores": SCORES.astype(str), "image_id": np.array(IDS), "classes": np.array(CLASSES)},
            "must be numbers",
        ),
    ):
        np.savez(path, **arrays)
        with pytest.raises(LabelError, match=wanted):
            read_scores(path, IDS, CLASSES)


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name, wanted in (
        ("scores.json", r"must end in \.csv, \.tsv, \.parquet, \.npz, got"),
        ("absent.csv", r"absent\.csv' is not there"),
        ("absent.npz", r"absent\.npz' is not there"),
    ):
        with pytest.raises(LabelError, match=wanted):
            read_scores(tmp_path / name, IDS, CLASSES)
    for name in ("damaged.npz", "damaged.parquet", "damaged.csv"):
        (tmp_path / name).write_bytes(b"\xff\x00PAR1")
        with pytest.raises(LabelError, match="cannot be read"):
            read_scores(tmp_path / name, IDS, CLASSES)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_priors(tmp_path, suffix):
    path = tmp_path / f"priors{suffix}"
    names, values = [CLASSES[n] for n in COLUMNS], [0.2, 0.5, 1.0]
    if suffix == ".parquet":
        pq.write_table(pa.table({"prior": values, "class": names}), path)
    else:
        sign = "\t" if suffix == ".tsv" else ","
        lines = [f"{name}{sign}{value}" for name, value in zip(names, values, strict=True)]
        text(path, "\n".join([f"class{sign}prior", *lines]))
    found = read_priors(path, CLASSES)
    assert found.dtype == np.float64 and found.tolist() == [1.0, 0.2, 0.5]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("class,share\ncat,0.5", "no column is 'prior'"),
        ("class,prior\ncat,0.5\ndog,50%\nowl,0.5", "got '50%' at line 3, column 'prior'"),
        ("class,prior\ncat,0.5\ndog,0.5", "must have every class.*'owl'"),
        ("class,prior\ncat,0\ndog,0\nowl,0\nox,0", "no class without labels, got 'ox'"),
        ("class,prior\ncat,0\ndog,0\nowl,0\ncat,0", "a class must occur once.*line 2.*line 5"),
        ("class,prior\n,0.5", "column 'class' must hold a name, got none at line 2"),
    ],
)
def test_wrong_priors(tmp_path, content, wanted):
    with pytest.raises(LabelError, match=wanted):
        read_priors(text(tmp_path / "priors.csv", content), CLASSES)


def test_groups(tmp_path):
    path = text(tmp_path / "groups.csv", "id,group\n3.jpg,x\nmore,x\na/1.jpg,7\nb\\2.jpg,x\n")
    assert read_groups(path, IDS) == ("7", "x", "x")
    for content, wanted in (
        ("id,group\n3.jpg,x\n", "must have every image"),
        ("id,group\n3.jpg, \n", "every image must have a group, got none at line 2"),
        ("id,group\n3.jpg,x\n3.jpg,y\n", "an image must occur once"),
        ("id,patient\n3.jpg,x\n", "no column is 'group'"),
    ):
        with pytest.raises(LabelError, match=wanted):
            read_groups(text(path, content), IDS)


def test_parents(tmp_path):
    path = text(tmp_path / "parents.csv", "child,parent\nowl,dog\ndog,cat\ncat,\n")
    found = read_parents(path, CLASSES)
    assert found.dtype == np.int64 and found.tolist() == [-1, 0, 1]
    assert read_parents(text(path, "child,parent\n"), CLASSES).tolist() == [-1, -1, -1]
    for content, wanted in (
        ("owl,dog\ndog,owl\n", r"got 'dog' -> 'owl' -> 'dog'"),
        ("owl,owl\n", r"no class may imply itself, got 'owl' -> 'owl'"),
        ("cat,owl\nowl,dog\ndog,owl\n", r"got 'owl' -> 'dog' -> 'owl'"),
        ("owl,bird\n", "line 2: unknown class 'bird'"),
        ("cats,dog\n", r"line 2: unknown class 'cats'; did you mean 'cat'\?"),
        ("owl,dog\nowl,cat\n", "a child must occur once, got 'owl' at line 2 and 'owl' at line 3"),
        (",dog\n", "column 'child' must hold a name"),
    ):
        with pytest.raises(LabelError, match=wanted):
            read_parents(text(path, f"child,parent\n{content}"), CLASSES)


# --- tables for a loss


def labels(*, named=True):
    some = PartialLabels(np.zeros((3, 3), bool), np.zeros((3, 3), bool))
    return some.named(IDS, CLASSES) if named else some


def test_a_file_wins_over_the_table_of_the_dataset(tmp_path):
    path = write_scores(tmp_path / "scores.csv", IDS, CLASSES, SCORES)
    task = Task(labels=labels(), side=SideTables(scores=np.zeros((3, 3), np.float32)))
    assert not side.scores_for("vlpl", None, task).any()
    found = side.scores_for("vlpl", str(path), task)
    assert np.array_equal(found, SCORES) and not found.flags.writeable
    write_scores(path, IDS, CLASSES, SCORES / 2)
    assert np.array_equal(side.scores_for("vlpl", str(path), task), SCORES / 2)


def test_a_file_needs_names_and_a_loss_needs_a_table(tmp_path):
    path = str(write_scores(tmp_path / "scores.csv", IDS, CLASSES, SCORES))
    bare = Task(labels=labels(named=False))
    for get, kind, names in (
        (side.scores_for, "scores", "images"),
        (side.priors_for, "priors", "classes"),
        (side.groups_for, "groups", "images"),
        (side.parents_for, "parents", "classes"),
    ):
        with pytest.raises(LabelError, match=f"file of {kind} by name.*their {names}, got none"):
            get("my-loss", path, bare)
        with pytest.raises(DefenseError, match=f"'my-loss' needs .*my-loss:{kind}=FILE .*declare"):
            get("my-loss", None, bare)
    for kind, table in (("scores", SCORES[:2]), ("groups", ("x",)), ("priors", np.zeros(2))):
        task = Task(labels=labels(), side=SideTables(**{kind: table}))
        with pytest.raises(DefenseError, match="must have shape"):
            getattr(side, f"{kind}_for")("my-loss", None, task)
    with pytest.raises(LabelError, match="cannot be read"):
        side.scores_for("vlpl", str(tmp_path / "absent.csv"), Task(labels=labels()))


def test_groups_priors_and_parents_for_a_loss(tmp_path):
    groups = text(tmp_path / "groups.csv", "id,group\n3.jpg,x\na/1.jpg,7\nb/2.jpg,x\n")
    parents = text(tmp_path / "parents.csv", "child,parent\nowl,dog\n")
    priors = text(tmp_path / "priors.csv", "class,prior\nowl,0.5\ncat,0\ndog,1\n")
    task = Task(labels=labels())
    assert side.groups_for("x", str(groups), task) == ("7", "x", "x")
    assert side.parents_for("x", str(parents), task).tolist() == [-1, -1, 1]
    assert side.priors_for("x", str(priors), task).tolist() == [0, 1, 0.5]
    declared = SideTables(
        groups=("a", "b", "c"), parents=np.array([-1, 0, 0]), priors=np.array([0.1, 0.2, 0.3])
    )
    task = Task(labels=labels(), side=declared)
    assert side.groups_for("x", None, task) == ("a", "b", "c")
    assert side.parents_for("x", None, task).tolist() == [-1, 0, 0]
    assert side.priors_for("x", None, task).tolist() == [0.1, 0.2, 0.3]


def test_losses_read_their_files_and_count_their_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = write_scores(tmp_path / "scores.npz", IDS, CLASSES, SCORES)
    priors = text(tmp_path / "priors.csv", "class,prior\nowl,0.5\ncat,0\ndog,1\n")
    task = Task(labels=labels(), expected_positives=1.0)
    step = to_step(labels(), torch.arange(3), epoch=1, epochs=2)
    for spec, name, buffer, wanted in (
        ("vlpl:scores=./scores.npz", "vlpl", "pseudo", (SCORES > 0.3).tolist()),
        ("gpr:scores=./scores.npz", "gpr", "pseudo", (SCORES >= 0.5).tolist()),
        ("csl:priors=./priors.csv", "csl", "prior", [0, 1, 0.5]),
    ):
        loss = defenses.create(spec)
        loss.bind(task)
        assert getattr(loss, buffer).tolist() == wanted
        assert torch.isfinite(loss(torch.zeros(3, 3, requires_grad=True), step))
        resolved = defenses.registry.resolve(spec)
        assert str(tmp_path) in str(resolved)
        before = defenses.registry.version(resolved)
        path = scores if name != "csl" else priors
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert defenses.registry.version(resolved) != before
        path.write_bytes(content)
    with pytest.raises(LabelAttackError, match="cannot be read"):
        defenses.create("vlpl:scores=./absent.csv").bind(task)
