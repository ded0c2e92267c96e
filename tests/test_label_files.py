"""What label files and split files may look like, and how they are written."""

import os
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelattack import datasets
from labelattack.attacks import registry as attacks
from labelattack.attacks.manifest import manifest
from labelattack.datasets.base import Split
from labelattack.errors import LabelAttackError, LabelError
from labelattack.labels import LabelTable, PartialLabels, decode, read_labels, write_labels
from labelattack.measures._d_score.plots import Point, draw_scatter

VALUES = [[1, 0], [0, 1]]
PLAIN = "image_id,cat,dog\na.png,1,0\nb.png,0,1\n"


@pytest.fixture
def read(tmp_path):
    """Reads the content of a CSV as clean labels."""

    def labels(content, encoding="binary"):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labels(path, encoding)

    return labels


# --- dialects


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN.replace(",", ";"),
        PLAIN + "\n\r\n",
        PLAIN.replace("\n", "\n\n"),
        PLAIN + ",,\n  , ,\n",
        PLAIN.replace("1", "True").replace("0", "FALSE"),
        PLAIN.replace(",1", ",1.0").replace(",0", ",0.00"),
        PLAIN.replace(",", " , "),
        'image_id, "cat", "dog"\n"a.png", "1", "0"\nb.png,0,1',
        PLAIN.replace("image_id", ""),
        PLAIN.replace("image_id", "my pictures"),
    ],
)
def test_every_common_dialect_is_read(read, content):
    table = read(content)
    assert (table.ids, table.classes) == (["a.png", "b.png"], ["cat", "dog"])
    assert (table.labels.values == VALUES).all()


def test_classes_called_by_numbers_are_legal(read):
    assert read("image_id,0,1\nx,1,0\n").classes == ["0", "1"]
    assert read(",0,1\nx,1,0\n").classes == ["0", "1"]


def test_a_comma_may_be_in_a_name(read):
    assert read("id;big, red;b, c\nx;1;0\n").classes == ["big, red", "b, c"]
    assert read('id,"a;b","c;d","e;f"\nx,1,0,1\n').classes == ["a;b", "c;d", "e;f"]


REFUSED = [
    ("image_id,cat,dog\nx,1,0\ny,1,2\nz,yes,1\n", "got '2' at line 3, column 'dog' .2 such cells"),
    (
        "image_id,cat,dog\nx,1,0\n\ny,1,-1\n",
        "'-1' at line 4, .*fit encoding 'signed' and 'missing'",
    ),
    ("image_id,cat\nx,1\ny,\n", "got '' at line 3, column 'cat' .*fit encoding 'nan'"),
    ('image_id,cat\n"x\ny",1\nz,9\n', "got '9' at line 4"),
    (PLAIN.encode("utf-16"), "UTF-8, got UTF-16 at line 1"),
    (PLAIN.encode("utf-16-le"), "zero byte at line 1.*UTF-16"),
    ("image_id,cat\nx,1\né,0\n".encode("latin-1"), "UTF-8, got byte 0xe9 at line 3"),
    (b"\xef\xbb\xbfimage_id,cat\n\xe9,0\n", "UTF-8, got byte 0xe9 at line 2"),
    (b"image_id,cat\nx,1\ny\0,0\n", "zero byte at line 3"),
    ("image_id,cat,\nx,1,0\n", "line 1 must be a header .*column 3 has no name"),
    ("image_id,cat,dog,cat \nx,1,0,1\n", "line 1 must be a header .*'cat' is there 2 times"),
    ("", "must begin with a header"),
    ("\n \n", "must begin with a header"),
    ("image_id\nx\n", "line 1 must be a header .*'image_id'.*commas, semicolons or tabs"),
    ("image_id|cat\nx|1\n", "got 'image_id|cat'.*commas, semicolons or tabs"),
    ("\na.png,1,0\nb.png,0,1\n", "line 2 must be a header .*'a.png', '1', '0': these are labels"),
    ("a.png;True;False\n", "line 1 must be a header .*these are labels"),
    ("a.png,1,\n", "line 1 must be a header .*these are labels"),
    (PLAIN + '"c.png,1,0\n', "line 4 is badly quoted"),
    (PLAIN + "\n\nc.png,1\n", "line 6 must have 3 cells, got 2"),
    (PLAIN + ",1,0\n", "an image must have a name, got none at line 4"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_what_is_refused_is_named_with_its_place(read, content, message):
    with pytest.raises(LabelError, match=f"label file '.*labels.csv'.*{message}"):
        read(content)


def test_an_array_names_the_encoding_that_would_fit():
    with pytest.raises(LabelError, match="got nan at row 0, column 1 .*fit encoding 'nan'"):
        decode(np.array([[1, np.nan]]), "binary")


def test_names_in_an_archive_may_be_bytes(tmp_path):
    names = {
        "image_id": np.array(["é.png".encode(), b"b.png"]),
        "classes": np.array([b"cat", b" dog"]),
    }
    np.savez(tmp_path / "y.npz", labels=np.array(VALUES), **names)
    table = read_labels(tmp_path / "y.npz", "binary")
    assert (table.ids, table.classes) == (["é.png", "b.png"], ["cat", "dog"])
    np.savez(tmp_path / "y.npz", labels=np.array(VALUES), classes=np.array([b"cat", b"\xff"]))
    with pytest.raises(LabelError, match=r"y.npz' .*UTF-8, got b'\\xff'"):
        read_labels(tmp_path / "y.npz", "binary")


# --- an image once

TWICE = [
    ("a.png,1,0\nb.png,0,1\na.png,0,1\n", "'a.png' at line 2 and 'a.png' at line 4 .1 such"),
    (
        "x/a.png,1,0\nb,0,1\nx\\a.png,1,0\nb,0,1\n",
        r"'x/a.png' at line 2 and 'x\\a.png' at line 4 .2",
    ),
    ("a.png,1,0\n./a.png,1,0\n", "'a.png' at line 2 and './a.png' at line 3"),
    ("x/a,1,0\nx//a,1,0\n", "'x/a' at line 2 and 'x//a' at line 3"),
]


@pytest.mark.parametrize(("rows", "message"), TWICE)
def test_an_image_is_once_in_a_label_file(read, rows, message):
    with pytest.raises(LabelError, match=f"an image must occur once, got {message}"):
        read("image_id,cat,dog\n" + rows)


def test_names_are_once_in_an_archive(tmp_path):
    path = tmp_path / "y.npz"
    np.savez(path, labels=np.array(VALUES), image_id=["a", "a"])
    with pytest.raises(
        LabelError, match="image must occur once, got 'a' at row 0 and 'a' at row 1"
    ):
        read_labels(path, "binary")
    np.savez(path, labels=np.array(VALUES), classes=["a", "a"])
    with pytest.raises(LabelError, match="class must occur once, got 'a' at column 0"):
        read_labels(path, "binary")


@pytest.fixture
def table(tmp_path):
    """Loads a table of twelve images with the given split file."""
    rows = [f"{i}.png,{i % 2},{(i + 1) % 2}" for i in range(12)]
    (tmp_path / "y.csv").write_text("\n".join(["file,cat,dog", *rows]))
    np.save(tmp_path / "x.npy", np.zeros((12, 4, 4), np.uint8))

    def load(content):
        (tmp_path / "splits.csv").write_bytes(content.encode())
        parts = f"labels={tmp_path}/y.csv,images={tmp_path}/x.npy,splits={tmp_path}/splits.csv"
        return datasets.create(f"table:{parts}").load()

    return load


SPLITS = "image_id,split\n" + "".join(
    f"{i}.png,{('train', 'val', 'test')[i % 3]}\n" for i in range(12)
)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + SPLITS,
        SPLITS.replace(",", ";"),
        SPLITS.replace(",", " \t "),
        SPLITS + "\n\n",
        SPLITS + "other.png,train\n",
        SPLITS.replace("3.png", "./3.png"),
        SPLITS.replace("\n", ",x\n").replace("split,x", "split,note"),
    ],
)
def test_split_files_are_read_in_every_dialect(table, content):
    assert table(content).val.ids == ["1.png", "4.png", "7.png", "10.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SPLITS + "3.png,test\n", "'3.png' at line 5 and '3.png' at line 14 .1 such"),
        (SPLITS + ".//3.png,train\n", "'3.png' at line 5 and './/3.png' at line 14"),
        (SPLITS.replace("4.png,val", "4.png,value"), "'value' at line 6 for '4.png' .1 such"),
        (SPLITS.partition("\n")[2], "line 1 must be a header .*no column is 'image_id'"),
        (SPLITS.replace("split", "image_id"), "'image_id' is there 2 times"),
        ("", "must begin with a header"),
    ],
)
def test_split_files_say_what_is_wrong(table, content, message):
    with pytest.raises(LabelAttackError, match=f"split file .*{message}"):
        table(content)


def test_an_image_is_in_one_split(table):
    splits = table(SPLITS)
    with pytest.raises(
        LabelAttackError,
        match=r"once, got '0.png' at row 0 of train and '0.png' at row 0 of test .4 such",
    ):
        replace(splits, test=splits.train)
    train = splits.train
    with pytest.raises(LabelAttackError, match="once, got '0.png' at row 0 and './0.png' at row 3"):
        Split(train.images, train.labels, ["0.png", "1", "2", "./0.png"])
    with pytest.raises(LabelAttackError, match="ids of a split must be text, got 3"):
        Split(train.images, train.labels, ["0", "1", "2", 3])


# --- attacked labels say so


@pytest.mark.parametrize("encoding", ["signed", "missing", "nan"])
@pytest.mark.parametrize("suffix", [".csv", ".npz", ".npy"])
def test_attacked_labels_are_never_clean(command, refused, tmp_path, suffix, encoding):
    (tmp_path / "y.csv").write_text(PLAIN)
    arguments = ("--attack", "targeted:rate=0.5", "--out")
    command("attack", "y.csv", *arguments, f"left{suffix}", "--encoding", encoding)
    path = tmp_path / f"left{suffix}"
    assert read_labels(path, encoding).labels.hidden.sum() == 3
    said = refused("attack", path, *arguments, "again.csv", cwd=tmp_path)
    assert f"'{encoding}'" in said and "by attack 'targeted:" in said and "not clean" in said
    for other in {"signed", "missing", "nan"} - {encoding}:
        with pytest.raises(LabelError, match=f"must be in encoding '{other}', but .*'{encoding}'"):
            read_labels(path, other)


def test_attacked_labels_are_written_with_hidden_cells_apart(command, tmp_path):
    (tmp_path / "y.csv").write_text(PLAIN)
    command("attack", "y.csv", "--attack", "targeted:rate=0.5", "--out", "left.csv")
    lines = (tmp_path / "left.csv").read_text().splitlines()
    assert lines[0] == "image_id (missing),cat,dog" and lines[1].endswith(",1,-1")


def test_a_manifest_without_an_encoding_tells_too(tmp_path):
    clean = np.array(VALUES, bool)
    attack = attacks.create("targeted:rate=0.5")
    account = manifest(attack, "targeted", 0, clean, attack(clean, seed=0))
    np.save(tmp_path / "y.npy", np.eye(2, dtype=int))
    beside = tmp_path / "y.npy.manifest.json"
    beside.write_text(account.model_dump_json(exclude_none=True))
    with pytest.raises(LabelError, match="y.npy.manifest.json' that it hides labels.*not clean"):
        read_labels(tmp_path / "y.npy", "binary")
    beside.write_text("{")
    with pytest.raises(LabelError, match="manifest '.*y.npy.manifest.json' cannot be read"):
        read_labels(tmp_path / "y.npy", "binary")


def test_a_signed_array_keeps_its_manifest_beside_it(refused, tmp_path):
    (tmp_path / "y.csv").write_text(PLAIN)
    elsewhere = ("--out", "left.npy", "--encoding", "signed", "--manifest", "other.json")
    assert "leave out --manifest" in refused("attack", "y.csv", *elsewhere, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["y.csv"]


# --- writing


@pytest.mark.parametrize(
    "places",
    [
        ("--out", "y.csv"),
        ("--out", "./no/../y.csv"),
        ("--out", "link.csv"),
        ("--out", "hard.csv"),
        ("--out", "left.csv", "--manifest", "y.csv"),
        ("--out", "left.csv", "--manifest", "link.csv"),
        ("--out", "left.csv", "--manifest", "./left.csv"),
    ],
)
def test_an_attack_writes_over_no_file_of_its_own(refused, tmp_path, places):
    (tmp_path / "no").mkdir()
    (tmp_path / "y.csv").write_text(PLAIN)
    (tmp_path / "link.csv").symlink_to("y.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "y.csv")
    assert "must not be written over" in refused("attack", "y.csv", *places, cwd=tmp_path)
    assert (tmp_path / "y.csv").read_text() == PLAIN and not (tmp_path / "left.csv").exists()


@contextmanager
def full_disk(size=2048):
    """Lets no file of this process grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_table(path):
    values = np.random.default_rng(0).random((1000, 30)) < 0.5
    labels = PartialLabels.full(values)
    ids, classes = ([str(i) for i in range(n)] for n in labels.shape)
    write_labels(path, LabelTable(labels, ids, classes), "binary")


def write_picture(path):
    draw_scatter(path, [Point("none", "an", 0.1, 0.2, None, None)], "title")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_table, "y.csv"),
        (write_table, "y.npy"),
        (write_table, "y.npz"),
        (write_picture, "a.png"),
    ],
)
def test_on_a_full_disk_the_old_file_stays(tmp_path, write, name):
    (tmp_path / name).write_bytes(b"old")
    with full_disk(), pytest.raises(LabelAttackError, match=f"{name}' cannot be written"):
        write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_and_a_device_stay_what_they_are(command, tmp_path):
    (tmp_path / "y.csv").write_text(PLAIN)
    (tmp_path / "far").mkdir()
    (tmp_path / "left.csv").symlink_to("far/left.csv")
    command("attack", "y.csv", "--out", "left.csv", "--manifest", os.devnull)
    assert (tmp_path / "left.csv").is_symlink() and (tmp_path / "far" / "left.csv").is_file()
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    "arguments", [("merge", "a", "b", "--into", "./a"), ("export", "a.csv", "a.csv")]
)
def test_a_store_is_not_written_over_itself(refused, tmp_path, arguments):
    for name in ("a", "b", "a.csv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "store.json").write_text('{"format": 1}')
    assert "must not be written over" in refused("store", *arguments, cwd=tmp_path)


def test_names_of_any_text_are_read_back(tmp_path):
    labels = PartialLabels.full(np.array(VALUES, bool))
    table = LabelTable(labels, ['a "b".png', "ü,\n;"], ["é", "x\ty;z"])
    write_labels(tmp_path / "y.csv", table, "binary")
    found = read_labels(tmp_path / "y.csv", "binary")
    assert (found.ids, found.classes) == (table.ids, table.classes)
