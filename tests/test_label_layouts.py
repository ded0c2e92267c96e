"""Every kind of label file in every layout and encoding, and what is refused of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack.errors import LabelError
from labelattack.files import records
from labelattack.files.records import RECORD_KINDS
from labelattack.labels import LabelTable, Layout, PartialLabels, read_labels, with_mask

KINDS = [*RECORD_KINDS, "columns.json"]
CODES = {"binary": (1, 0, None), "signed": (1, -1, 0), "missing": (1, 0, -1), "nan": (1, 0, None)}


def written(path, columns):
    """Writes columns to a file of the kind that its name ends in."""
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if path.name.endswith("columns.json"):
        path.write_text(json.dumps({name: list(cells) for name, cells in columns.items()}))
    elif path.suffix == ".json":
        path.write_text(json.dumps(objects))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in objects))
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(names)
            for row in rows:
                writer.writerow([json.dumps(c) if isinstance(c, list) else c for c in row])
    return path


def states(table):
    """1 positive, 0 negative, None unknown; by image and class."""
    known, values = table.labels.observed, table.labels.values
    return {
        image: {
            name: int(values[row, column]) if known[row, column] else None
            for column, name in enumerate(table.classes)
        }
        for row, image in enumerate(table.ids)
    }


TRUTH = {"a": {"cat": 1, "dog": 0}, "b": {"cat": None, "dog": 1}, "c": {"cat": 0, "dog": 0}}
FULL = {image: {name: value or 0 for name, value in own.items()} for image, own in TRUTH.items()}


def coded(truth, encoding):
    positive, negative, hidden = CODES[encoding]
    return lambda value: {1: positive, 0: negative, None: hidden}[value]


# --- one meaning in every kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", CODES)
def test_a_column_a_class(tmp_path, kind, encoding):
    truth = FULL if encoding == "binary" else TRUTH
    code = coded(truth, encoding)
    columns = {"image_id": list(truth)}
    columns |= {name: [code(own[name]) for own in truth.values()] for name in ("cat", "dog")}
    found = read_labels(written(tmp_path / f"y{kind}", columns), encoding)
    assert states(found) == truth and found.classes == ["cat", "dog"] and found.groups is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unlisted", ["negative", "unknown"])
def test_lists_of_labels(tmp_path, kind, unlisted):
    lists = {"a": ["dog", "cat"], "b": [], "c": ["dog", "dog"]}
    columns = {"image_id": list(lists), "labels": list(lists.values())}
    layout = Layout(kind="lists", unlisted=unlisted)
    found = read_labels(written(tmp_path / f"y{kind}", columns), "binary", layout=layout)
    other = 0 if unlisted == "negative" else None
    assert found.classes == ["cat", "dog"]
    assert states(found) == {
        image: {name: 1 if name in own else other for name in ("cat", "dog")}
        for image, own in lists.items()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", CODES)
@pytest.mark.parametrize("unlisted", [None, "unknown", "negative"])
def test_a_line_an_entry_with_values(tmp_path, kind, encoding, unlisted):
    entries = [("b", "dog", 1), ("a", "cat", 1), ("a", "dog", 0), ("a", "cat", 1)]
    if encoding != "binary":
        entries.append(("b", "cat", None))
    code = coded(TRUTH, encoding)
    images, labels, values = zip(*entries, strict=True)
    columns = {"image_id": images, "label": labels, "value": list(map(code, values))}
    layout = Layout(kind="long", unlisted=unlisted)
    found = read_labels(written(tmp_path / f"y{kind}", columns), encoding, layout=layout)
    unlisted_too = 0 if unlisted == "negative" and encoding == "binary" else None
    assert found.ids == ["b", "a"] and found.classes == ["cat", "dog"]
    assert states(found) == {"b": {"cat": unlisted_too, "dog": 1}, "a": {"cat": 1, "dog": 0}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unlisted", ["negative", "unknown"])
def test_a_line_a_positive(tmp_path, kind, unlisted):
    columns = {"file": ["b", "./a", "a"], "class": ["dog", "cat", "cat"], "who": [2, 1, 1]}
    layout = Layout(kind="long", unlisted=unlisted, image_id="file", column="class", group="who")
    found = read_labels(written(tmp_path / f"y{kind}", columns), "binary", layout=layout)
    other = 0 if unlisted == "negative" else None
    assert found.ids == ["b", "./a"] and found.groups == ["2", "1"]
    assert states(found) == {"b": {"cat": other, "dog": 1}, "./a": {"cat": 1, "dog": other}}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_are_no_classes(tmp_path, kind):
    columns = {"note": ["x", "y"], "photo": [7, 8], "cat": [True, False], "who": ["p", "q"]}
    layout = Layout(image_id="photo", ignore=("note",), group="who")
    found = read_labels(written(tmp_path / f"y{kind}", columns), "binary", layout=layout)
    assert (found.ids, found.classes, found.groups) == (["7", "8"], ["cat"], ["p", "q"])
    assert found.labels.values.tolist() == [[True], [False]]


@pytest.mark.parametrize("kind", KINDS)
def test_large_files_are_read_in_pieces(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(records, "_CELLS", 7)
    rng = np.random.default_rng(0)
    values = rng.random((50, 3)) < 0.5
    columns = {"image_id": [f"{n}.png" for n in range(50)]}
    columns |= {f"c{c}": values[:, c].astype(int).tolist() for c in range(3)}
    path = written(tmp_path / f"y{kind}", columns)
    assert (read_labels(path, "binary").labels.values == values).all()
    rows, labels = np.nonzero(np.ones_like(values))
    long = {
        "image_id": [columns["image_id"][row] for row in rows],
        "label": [f"c{c}" for c in labels],
        "value": values[rows, labels].astype(int).tolist(),
    }
    path = written(tmp_path / f"long{kind}", long)
    found = read_labels(path, "binary", layout=Layout(kind="long"))
    assert (found.labels.values == values).all() and found.labels.is_complete
    long["value"][7] = 2
    written(path, long)
    with pytest.raises(LabelError, match=r"got '?2'? at (line 9|row 8|record 8|line 8), column"):
        read_labels(path, "binary", layout=Layout(kind="long"))


@pytest.mark.parametrize(
    ("sep", "text"),
    [("comma", '"cat, red fox"'), ("pipe", "cat|red fox|"), ("|", "cat | red fox"),
     ("semicolon", "cat;red fox"), (" and ", "cat and red fox"), ("", '"[""cat"", ""red fox""]"')],
)  # fmt: skip
def test_what_divides_a_list_is_said(tmp_path, sep, text):
    (tmp_path / "y.csv").write_text(f"image_id,labels\nx,{text}\ny,\n")
    layout = Layout(kind="lists", sep=sep, unlisted="negative")
    found = read_labels(tmp_path / "y.csv", "binary", layout=layout)
    assert found.classes == ["cat", "red fox"]
    assert found.labels.values.tolist() == [[True, True], [False, False]]


def test_classes_may_be_given(tmp_path):
    path, classes = tmp_path / "y.csv", ("dog", "cow", "cat")
    path.write_text("image_id,labels\nx,cat\ny,dog\n")
    layout = Layout(kind="lists", sep="|", unlisted="negative", classes=classes)
    found = read_labels(path, "binary", layout=layout)
    assert found.classes == list(classes)
    assert found.labels.values.astype(int).tolist() == [[0, 0, 1], [1, 0, 0]]
    path.write_text("image_id,cat,dog,cow\nx,1,0,0\n")
    found = read_labels(path, "binary", layout=Layout(classes=classes))
    assert (found.classes, found.labels.values.tolist()) == (list(classes), [[False, False, True]])
    np.save(tmp_path / "y.npy", np.eye(3, dtype=int))
    found = read_labels(tmp_path / "y.npy", "binary", layout=Layout(classes=classes))
    assert found.classes == list(classes) and (found.labels.values == np.eye(3)).all()


# --- what is refused, with its place

LISTS = {"kind": "lists", "unlisted": "negative"}
LONG = {"kind": "long"}
REFUSED = [
    # lists
    ("image_id,labels\nx,cat\n", {"kind": "lists"}, "unlisted must be negative or unknown for layout=lists"),
    ("image_id,labels\nx,cat|dog\ny,[\"cat\"\nz,cow|cat\n", LISTS,
     r"JSON list of text, or sep= must say.*got 'cat\|dog' at line 2 .3 such.; sep=pipe may fit"),
    ('image_id,labels\nx,"[""cat""]"\n', LISTS | {"sep": "comma"}, "divided by ',', got .* at line 2 .1 such.; leave out sep"),
    ('image_id,labels\nx,"[[1], null]"\n', LISTS, r"a label must have a name.*got \[1\] at line 2 .2 such"),
    ("image_id,labels,labels\nx,cat,dog\n", LISTS, "'labels' is there 2 times"),
    (",file,cat,\n0,x,1,1\n", {"image_id": "file"}, "column 4 has no name"),
    ("image_id,tags\nx,cat\n", LISTS, "no column is 'labels'; column="),
    ("image_id,labels\nx,cat\nx,dog\n", LISTS | {"sep": "|"}, "once, got 'x' at line 2 and 'x' at line 3 .1 such"),
    ("image_id,labels\nx,caat|dog\ny,caat\n", LISTS | {"sep": "|", "classes": ("cat", "dog")},
     "one of the 2 listed, got 'caat' at line 2 .2 such.; did you mean 'cat'"),
    # a line an entry
    ("image_id,label\nx,cat\n", LONG, "unlisted must be negative or unknown for layout=long"),
    ("image_id,label,value\nx,cat,1\ny,cat,2\nz,cat,-1\n", LONG, "got '2' at line 3, column 'value' .2 such cells"),
    ("image_id,label,value\nx,cat,1\ny,cat,-1\n", LONG, "got '-1' at line 3.*fit encoding 'signed' and 'missing'"),
    ("image_id,label,value\nx,cat,1\ny,dog,1\n\nx,cat,0\nx,cat,1\ny,dog,0\n", LONG,
     "one value, got two for 'cat' of 'x' at line 2 and line 5 .2 such"),
    ("image_id,label,value\nx,cat,1\n./x,cat,0\n", LONG, "got two for 'cat' of 'x' at line 2 and line 3 .1 such"),
    ("image_id,label,present\nx,cat,0\n", LONG | {"unlisted": "unknown"}, "'present' is neither .* value=present or ignore=present"),
    ("image_id,label,value\nx,,1\n,cat,1\n", LONG, "an image must have a name.*got none at line 3 .1 such"),
    ("image_id,label,value\nx,,1\ny,,1\n", LONG, "a label must have a name.*got none at line 2 .2 such"),
    ("image_id,label,who,value\nx,cat,p,1\nx,dog,q,1\ny,cat,p,1\n", LONG | {"group": "who"},
     "one group, got 'p' at line 2 and 'q' at line 3 for 'x' .1 such"),
    ("image_id,label,who,value\nx,cat,,1\n", LONG | {"group": "who"}, "a group must have a name.*got none at line 2"),
    # a column a class
    ("image_id,cat,who\nx,1,p\n", {}, "got 'p' at line 2, column 'who' .1 such cells.; ignore= leaves out .* layout=lists"),
    ("image_id,cat\nx,2\n", {}, "got '2' at line 2, column 'cat' .1 such cells.; encodings: binary, signed, missing, nan"),
    ("image_id,cat\nx,1\n", {"image_id": "file"}, "no column is 'file'; known: cat, image_id"),
    ("image_id,cat\nx,1\n", {"ignore": ("catt",)}, "no column is 'catt'; did you mean 'cat'"),
    ("image_id,cat\nx,1\n", {"ignore": ("cat",)}, "there must be an id column and one column for each class"),
    ("image_id,caat,dog\nx,1,1\n", {"classes": ("cat", "dog")}, "every class of the labels, got none for 'cat'"),
    ("image_id,cat,dogs\nx,1,1\n", {"classes": ("cat",)}, "no class without labels, got 'dogs' .1 such"),
    ("image_id,cat\nx,1\n", {"unlisted": "negative"}, "unlisted must be left out for layout=wide.*layout=lists and layout=long"),
    ("image_id,cat\nx,1\n", {"sep": "|"}, "sep must be left out for layout=wide"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "layout", "message"), REFUSED)
def test_what_is_refused_is_named_with_its_place(tmp_path, content, layout, message):
    path = tmp_path / "y.csv"
    path.write_text(content)
    with pytest.raises(LabelError, match=f"label file '.*y.csv'.*{message}") as said:
        read_labels(path, "binary", layout=Layout(**layout))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("layout", [LISTS, LONG | {"unlisted": "negative"}])
def test_an_encoding_needs_values(tmp_path, layout):
    (tmp_path / "y.csv").write_text("image_id,label\nx,cat\n")
    with pytest.raises(LabelError, match="encoding must be left out for layout=l.* got 'missing'"):
        read_labels(tmp_path / "y.csv", "missing", layout=Layout(**layout))


JSON = [
    (".jsonl", '{"image_id": "a", "cat": 1}\n\n{"image_id": "b"}\n', "line 3 must have the keys of the first, got none for 'cat'"),
    (".jsonl", '{"image_id": "a", "cat": 1}\n{"image_id": "b", "cat": 1, "dog": 1}\n', "line 2 .* got 'dog'"),
    (".jsonl", '{"image_id": "a", "cat": 1, "cat": 0}\n', "line 1 .*'cat' twice"),
    (".jsonl", '{"image_id": "a", "cat": 1}\n{"image_id"', "line 2 must be a JSON object"),
    (".jsonl", "[1]\n", r"line 1 must be an object, got \[1\]"),
    (".jsonl", "[" * 100_000, "line 1 must be a JSON object"),
    (".jsonl", "", "got none: no column is 'image_id'"),
    (".json", '[{"image_id": "a", "cat": 1, "cat": 0}]', "record 1: .*'cat' twice"),
    (".json", '[{"image_id": "a", "cat": 1}, 7]', "record 2 must be an object, got 7"),
    (".json", '[{"image_id": "a", "cat": 1}, {"cat": 0}]', "record 2 must have .* none for 'image_id'"),
    (".json", '[{"image_id": "a", "cat": 1}', "cannot be read: .*(premature|ncomplete)"),
    (".json", "[" * 100_000, "nested deeper"),
    (".json", "3", "a list of records or an object of columns"),
    (".json", "", "cannot be read"),
    (".json", '{"image_id": ["a", "b"], "cat": [1]}', "lists of one length, got another for 'cat'"),
    (".json", '{"image_id": {"0": "a"}, "cat": {"0": 1}}', "columns must be lists that are not empty; of a data frame"),
    (".json", '{"image_id": ["a"], "cat": [1], "cat": [0]}', "'cat' is there 2 times"),
    (".json", '[{"image_id": "a", "cat": [1]}]', r"got \[1\] at record 1, column 'cat'"),
    (".json", '[{"image_id": "a", "cat": "yes"}]', "got 'yes' at record 1, column 'cat'"),
    (".json", '[{"image_id": "a", "cat": null}]', "got None at record 1.*fit encoding 'nan'"),
    (".json", '[{"image_id": 1.5, "cat": 1}]', "names must be text or whole numbers, got 1.5 at record 1"),
    (".jsonl", '{"image_id": "\\ud800", "cat": 1}', "text in UTF-8.* at line 1"),
    (".json", '[{"image_id": "a", "cat": 1}, {"image_id": "a", "cat": 1}]', "'a' at record 1 and 'a' at record 2"),
    (".json", '[{"image_id": "a", "": 1}]', "column 2 has no name"),
    (".json", '[{"image_id": "a"}]', "there must be an id column and one column for each class"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "message"), JSON)
def test_damaged_json_is_refused_with_its_place(tmp_path, kind, content, message):
    path = tmp_path / f"y{kind}"
    path.write_text(content)
    with pytest.raises(LabelError, match=f"label file '.*y{kind}'.*{message}"):
        read_labels(path, "binary")


def test_a_number_may_name_a_class(tmp_path):
    path = written(tmp_path / "y.json", {"image_id": [1, 2], "labels": [[7], [9, 8]]})
    layout = {"kind": "lists", "unlisted": "negative"}
    found = read_labels(path, "binary", layout=Layout(**layout))
    assert (found.ids, found.classes) == (["1", "2"], ["7", "8", "9"])
    with pytest.raises(LabelError, match="one of the 2 listed, got 9 at record 2 .1 such"):
        read_labels(path, "binary", layout=Layout(**layout, classes=("7", "8")))


def test_damaged_parquet_is_refused(tmp_path):
    path = written(tmp_path / "y.parquet", {"image_id": ["a", "b"], "cat": [1, 5]})
    with pytest.raises(LabelError, match="got 5 at row 2, column 'cat' .1 such"):
        read_labels(path, "binary")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LabelError, match=r"y.parquet' cannot be read"):
        read_labels(path, "binary")
    with pytest.raises(LabelError, match=r"must end in .csv, .tsv, .parquet, .*got '.*y.xlsx'"):
        read_labels(tmp_path / "y.xlsx", "binary")


def test_parquet_needs_its_library(tmp_path, monkeypatch):
    path = written(tmp_path / "y.parquet", {"image_id": ["a"], "cat": [1]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(LabelError, match=r"pip install 'labelattack\[parquet\]'"):
        read_labels(path, "binary")


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (",file,cat\n0,x,1\n", {}),
        (",file,label,value\n0,x,cat,1\n", {"kind": "long"}),
        (",file,labels\n0,x,cat\n", {"kind": "lists", "sep": "|", "unlisted": "unknown"}),
    ],
)
def test_the_index_of_a_data_frame_is_left_out(tmp_path, content, layout):
    (tmp_path / "y.csv").write_text(content)
    layout = Layout(image_id="file", **layout)
    found = read_labels(tmp_path / "y.csv", "binary", layout=layout)
    assert states(found) == {"x": {"cat": 1}}


def test_a_tsv_is_divided_by_tabs_only(tmp_path):
    path = tmp_path / "y.tsv"
    path.write_text("image_id\tbig, red\na,b.png\t1\n")
    assert read_labels(path, "binary").ids == ["a,b.png"]
    path.write_text("image_id,cat\na,1\n")
    with pytest.raises(LabelError, match="one column for each class, divided by tabs$"):
        read_labels(path, "binary")


def test_an_array_has_no_columns_to_name(tmp_path):
    np.save(tmp_path / "y.npy", np.eye(2, dtype=int))
    for layout in (Layout(kind="long"), Layout(image_id="x"), Layout(ignore=("x",))):
        with pytest.raises(LabelError, match="must be left out for an array"):
            read_labels(tmp_path / "y.npy", "binary", layout=layout)


def test_bytes_are_refused_wherever_they_are(tmp_path, monkeypatch):
    """Checks of the text go on over the ends of the blocks in which it is read."""
    from labelattack.files import text

    monkeypatch.setattr(text, "_BLOCK", 3)
    for content, message in [
        ("image_id,é\r\nx,1\r\n".encode() + b"\xe9,0\n", "byte 0xe9 at line 3"),
        ("image_id,é\rx,1\r".encode() + b"a\0,0\n", "zero byte at line 3"),
        ("image_id,é\n".encode() + b"x,1\n\xc3", "byte 0xc3 at line 3"),
    ]:
        (tmp_path / "y.csv").write_bytes(content)
        with pytest.raises(LabelError, match=message):
            read_labels(tmp_path / "y.csv", "binary")
    (tmp_path / "y.csv").write_bytes("\ufeffimage_id,é\r\nü,1\r\n".encode())
    assert read_labels(tmp_path / "y.csv", "binary").ids == ["ü"]


# --- masks

VALUES = np.array([[1, 0], [0, 1], [1, 1]], bool)
TABLE = LabelTable(PartialLabels.full(VALUES), ["a", "b", "c"], ["cat", "dog"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_may_be_in_another_order(tmp_path, kind):
    path = written(
        tmp_path / f"m{kind}", {"image_id": ["c", "./a", "b"], "dog": [1, 0, 1], "cat": [0, 1, 1]}
    )
    found = with_mask(TABLE, path).labels
    assert found.observed.tolist() == [[True, False], [True, True], [False, True]]
    assert (found.values == (VALUES & found.observed)).all()
    again = with_mask(TABLE._replace(labels=found), path).labels  # hides nothing more
    assert again == found


def test_a_mask_may_be_an_array(tmp_path):
    mask = np.array([[1, 0], [0, 1], [1, 1]])
    np.save(tmp_path / "m.npy", mask)
    np.savez(tmp_path / "m.npz", mask=mask[::-1], image_id=["c", "b", "a"])
    for name in ("m.npy", "m.npz"):
        assert (with_mask(TABLE, tmp_path / name).labels.observed == mask).all()


def test_another_mask_is_refused(tmp_path):
    def refused(message, name, columns=None):
        if columns:
            written(tmp_path / name, columns)
        with pytest.raises(LabelError, match=f"mask '.*{name}'.*{message}"):
            with_mask(TABLE, tmp_path / name)

    np.save(tmp_path / "m.npy", np.ones((2, 2), int))
    refused(r"the shape of the labels, \(3, 2\), got \(2, 2\)", "m.npy")
    np.savez(tmp_path / "m.npz", labels=np.ones((3, 2), int))
    refused("expected an array 'mask', got labels", "m.npz")
    base = {"image_id": ["a", "b", "c"], "cat": [1, 1, 1], "dog": [1, 1, 1]}
    refused("every image of the labels, got none for 'c' .1 such",
            "m.csv", base | {"image_id": ["a", "b", "x"]})  # fmt: skip
    more = {name: [*cells, cells[-1]] for name, cells in base.items()}
    refused("no image without labels, got 'x' .1 such", "m.csv", more | {"image_id": [*"abcx"]})
    refused("no class without labels, got 'cow'", "m.csv", base | {"cow": [1, 1, 1]})
    refused("every class of the labels, got none for 'dog'",
            "m.csv", {"image_id": ["a", "b", "c"], "cat": [1, 1, 1]})  # fmt: skip
    refused("got '2' at line 3, column 'dog'", "m.csv", base | {"dog": [1, 2, 1]})
    refused("is not there", "none.csv")


# --- any table, in any kind and layout


@given(st.data())
def test_the_same_labels_in_any_layout(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    high, wide = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    cell = st.sampled_from([1, 0, None])
    truth = data.draw(
        st.lists(st.lists(cell, min_size=wide, max_size=wide), min_size=high, max_size=high)
    )
    ids, classes = [f"i{n}" for n in range(high)], [f"c{n}" for n in range(wide)]
    kind = data.draw(st.sampled_from([k for k in KINDS if k != ".parquet"]))
    columns = {"image_id": ids} | {c: [row[n] for row in truth] for n, c in enumerate(classes)}
    as_wide = read_labels(written(folder / f"w{kind}", columns), "nan")
    entries = [(i, c, truth[row][n]) for row, i in enumerate(ids) for n, c in enumerate(classes)]
    entries = data.draw(st.permutations(entries))
    images, labels, values = zip(*entries, strict=True)
    long = {"image_id": images, "label": labels, "value": values}
    as_long = read_labels(written(folder / f"l{kind}", long), "nan", layout=Layout(kind="long"))
    assert states(as_long) == states(as_wide)
    lists = [[c for n, c in enumerate(classes) if row[n] == 1] for row in truth]
    layout = Layout(kind="lists", unlisted="negative", classes=tuple(classes))
    path = written(folder / f"s{kind}", {"image_id": ids, "labels": lists})
    as_lists = read_labels(path, "binary", layout=layout)
    assert (as_lists.labels.values == as_wide.labels.values).all()


def test_layouts_are_documented(pytestconfig):
    page = (Path(pytestconfig.rootpath) / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name in (*RECORD_KINDS, ".npz", ".npy", *Layout.__dataclass_fields__, "holdout_by", "mask"):
        asked = {"kind": "layout", "group": "holdout_by"}.get(name, name)
        assert f"`{asked}" in page, asked
