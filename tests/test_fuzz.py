"""Odd input gives a right result or one clear line, and never hangs.

``LABELATTACK_FUZZ=20 python -m pytest tests/test_fuzz.py`` tries twenty times as many cases, and
others each time.
"""

import io
import json
import os
import random
import re
import sys
import warnings
import zipfile
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelattack import attacks, datasets, defenses, models, mutations
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.plan.config import experiment, read_experiment, resolved, to_toml
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.record import CleanScores, Record, Removal
from labelattack.benchmark.store.store import RecordStore
from labelattack.cli import main
from labelattack.cli._console import print_json, say
from labelattack.cli.show import print_board
from labelattack.datasets.images import FileImages
from labelattack.datasets.voc import VocBoxes
from labelattack.errors import LabelAttackError
from labelattack.labels import (
    Encoding,
    LabelTable,
    Layout,
    PartialLabels,
    read_labels,
    write_labels,
)
from labelattack.measures.class_drops import ClassDropsSummary
from labelattack.measures.d_score import Diagnosis, DScoreSettings
from labelattack.registry.spec import Spec
from labelattack.terminal import prepare_streams
from labelattack.training.recipe import Epoch
from tests.official import make_coco, make_nus_wide, make_voc
from tests.test_benchmark import fake
from tests.test_label_layouts import written

CASES = {
    "specs": 1100,
    "labels": 800,
    "archives": 300,
    "dialects": 2500,
    "layouts": 1200,
    "table": 350,
    "coco": 250,
    "nus-wide": 200,
    "voc": 150,
    "annotations": 400,
    "toml-text": 500,
    "toml-keys": 700,
    "records": 800,
    "images": 1500,
    "command-line": 50,
    "terminal": 800,
}
TIMES = int(os.environ.get("LABELATTACK_FUZZ", "1"))


def test_there_are_enough_cases():
    assert sum(CASES.values()) >= 10_000


def fuzzed(name):
    """As many cases as the table says; the same ones each time unless more are asked for."""
    return settings(
        max_examples=CASES[name] * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=timedelta(seconds=5),
        suppress_health_check=list(HealthCheck),
    )


def outcome(call, *arguments, **named):
    """What a call returns; None if it says in one line what is wrong. Nothing else may come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(*arguments, **named)
        except LabelAttackError as error:
            text = str(error)
            assert text and text.isprintable() and len(text) < 1000, text
            return None


# --- what odd input is made of

LONG = "x" * 100_000
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "nan", "inf", "-inf", "-1", "0", "1e999", "5e-324", "9" * 400, "9" * 5000, "none", "None",
         "true", "\0", "\ud800", "\x1b[31m", "\n", "=", ":", ",", "..", "/", "~", "~nobody", "$x$",
         "[/b]", "{x}", "%s", "\u202e", "é", "1_0", " 1 ", "0x10", LONG]
    ),
)  # fmt: skip


@st.composite
def mutated(draw, originals, tokens=()):
    """One of some contents with bytes flipped, cut out, repeated, put in, or cut off."""
    content = bytearray(draw(st.sampled_from(originals)))
    odd = st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from([b"\0", b"\xff\xfe", b"\n", b'"', b",", b"nan", b"-", b"9" * 400, *tokens]),
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 12))
        kind = draw(st.sampled_from(["flip", "cut", "repeat", "insert", "replace", "end"]))
        if kind == "flip" and content:
            content[start] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del content[start : start + length]
        elif kind == "repeat":
            content[start:start] = content[start : start + length * 10] * length
        elif kind == "insert":
            content[start:start] = draw(odd)
        elif kind == "replace":
            content[start : start + length] = draw(odd)
        else:
            del content[start:]
    return bytes(content)


def deep(depth):
    return "[" * depth + "]" * depth


# JSON texts, as no JSON library writes all of them.
ODD_JSON = st.one_of(
    st.sampled_from(
        ["null", "true", "-1", "0", "NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000,
         "-0.0", "1.5", '""', '"\\ud800"', '"\\u0000"', '"../../secret.jpg"', '"/etc/passwd"',
         "[]", "{}", "[[]]", '{"a": {}}', deep(50), deep(20_000), json.dumps(LONG), "2e-320",
         "18446744073709551616", '"1"', "tru"]
    ),
    st.text(max_size=6).map(json.dumps),
)  # fmt: skip


@st.composite
def mutated_json(draw, value):
    """The text of a value with a part replaced, left out or repeated, at any depth."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        place = draw(st.integers(0, len(items) - 1))
        parts = [
            (k, draw(mutated_json(v)) if n == place else json.dumps(v))
            for n, (k, v) in enumerate(items)
        ]
        if isinstance(value, list):
            return f"[{', '.join(text for _, text in parts)}]"
        return "{" + ", ".join(f"{json.dumps(k)}: {text}" for k, text in parts) + "}"
    if isinstance(value, dict) and value:
        items = [(json.dumps(k), json.dumps(v)) for k, v in value.items()]
        name = draw(st.sampled_from(items))
        kind = draw(st.sampled_from(["without", "twice", "renamed", "added"]))
        if kind == "without":
            items.remove(name)
        elif kind == "twice":
            items.append((name[0], draw(ODD_JSON)))
        elif kind == "renamed":
            items[items.index(name)] = (json.dumps(draw(TEXTS)), name[1])
        else:
            items.append((json.dumps(draw(TEXTS)), draw(ODD_JSON)))
        return "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    return draw(ODD_JSON)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


# --- specs

REGISTRIES = [m.registry for m in (attacks, defenses, datasets, models, mutations)]
NAMES = {r.kind: {d.name: [p.name for p in d.parameters] for d in r.declarations()} for r in REGISTRIES}  # fmt: skip


@st.composite
def specs(draw):
    registry = draw(st.sampled_from(REGISTRIES))
    known = NAMES[registry.kind]
    if draw(st.integers(0, 5)) == 0:
        return registry, draw(TEXTS)
    name = draw(st.sampled_from(sorted(known)))
    keys = st.one_of(st.sampled_from([*known[name], "rate", "self", "cls"]), TEXTS)
    pairs = draw(st.lists(st.tuples(keys, TEXTS), max_size=3))
    if registry.kind == "dataset" and name == "table":
        pairs += [("labels", "y.npy"), ("images", "x.npy")][: draw(st.integers(0, 2))]
    sign = draw(st.sampled_from(["=", "=", "=", ":", ""]))
    return registry, f"{name}:{','.join(f'{k}{sign}{v}' for k, v in pairs)}"


@given(specs())
@fuzzed("specs")
def test_specs(case):
    registry, text = case
    parsed = outcome(Spec.parse, text)
    resolved = outcome(registry.resolve, text)
    made = outcome(registry.create, text)
    assert (made is None) == (resolved is None)
    if resolved is not None:
        assert isinstance(made, registry.get(parsed.name))
        assert registry.resolve(str(resolved)) == resolved
        assert Spec.parse(registry.short(str(resolved))).name == parsed.name


# --- labels

VALUES = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
TABLE = LabelTable(PartialLabels.full(VALUES), ["a.png", "b.png", "c.png", "d.png"], ["cat", "dog"])


@pytest.fixture(scope="module")
def label_files(folder):
    """Content of a label file of each kind."""
    found = {}
    for suffix in (".csv", ".npy", ".npz"):
        write_labels(folder / f"original{suffix}", TABLE, "binary")
        found[suffix] = (folder / f"original{suffix}").read_bytes()
    return found


def check_labels(path, encoding):
    found = outcome(read_labels, path, encoding)
    if found is not None:
        images, count = found.labels.shape
        assert (len(found.ids), len(found.classes)) == (images, count)
        assert not (found.labels.values & found.labels.hidden).any()


@given(st.data())
@fuzzed("labels")
def test_label_files(folder, label_files, data):
    suffix = data.draw(st.sampled_from([".csv", ".npy", ".npz"]))
    originals = [label_files[suffix]]
    shapes = [b"(9999999999999999, 2)", b"(-1, 2)", b"'|O'", b"(4,)", b"'<U9'", b"True"]
    path = folder / f"labels{suffix}"
    path.write_bytes(data.draw(st.one_of(mutated(originals, shapes), st.binary(max_size=60))))
    check_labels(path, data.draw(st.sampled_from(Encoding.__args__)))


ODD_ARRAYS = st.sampled_from(
    [np.zeros(()), np.zeros((4, 0)), np.zeros((0, 2)), np.zeros(4), np.zeros((4, 2, 1)),
     np.array(["a", "b"]), np.full((4, 2), np.nan), np.ones((4, 2), complex), np.array(5),
     np.array(["x"] * 4), np.array([b"\xff"] * 4), np.arange(8).reshape(4, 2),
     np.zeros((4, 2), "M8[s]"), np.zeros((4, 2), [("a", "i4")]), np.full((4, 2), np.inf)]
)  # fmt: skip


@st.composite
def archives(draw):
    """Archives whose checksums are right and whose content is not."""
    text = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    with zipfile.ZipFile(text, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice is one of the oddities
        names = ["labels.npy", "labels", "image_id.npy", "classes.npy", "../x.npy", "labels.npy"]
        for name in draw(st.lists(st.sampled_from(names), max_size=4)):
            part = io.BytesIO()
            np.save(part, draw(ODD_ARRAYS))
            whole = part.getvalue()
            archive.writestr(name, draw(st.one_of(st.just(whole), mutated([whole]))))
    return text.getvalue()


@given(archives(), st.sampled_from(Encoding.__args__))
@fuzzed("archives")
def test_archives(folder, content, encoding):
    path = folder / "archive.npz"
    path.write_bytes(content)
    check_labels(path, encoding)


# --- dialects of label files

SIGNS = {
    1: ["1", "1.0", "true", "True", "TRUE", "+1", "01"],
    0: ["0", "0.0", "false", "False", "-0", "0."],
}


def names(rng, count):
    """Names that differ, with characters that mean something in some dialect."""
    found = []
    while len(found) < count:
        text = "".join(rng.choices("ab,;\t\"'\n\r.é 0-", k=rng.randint(0, 6)))
        if (name := f"n{text.strip()}z") not in found:
            found.append(name)
    return found


@st.composite
def dialects(draw):
    """A table, and a text of it as one of many programs would write it."""
    wide, high = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    sign, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    first = draw(
        st.sampled_from(["image_id", "", "File Name", "id", "my images", "image_id (binary)"])
    )
    quoting = draw(st.booleans())
    # So many characters and cells: to draw one after the other takes most of the time.
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    classes, ids = names(rng, wide), names(rng, high)
    values = [[rng.randint(0, 1) for _ in classes] for _ in ids]
    spellings = [[rng.choice(SIGNS[value]) for value in row] for row in values]
    rows = [[first, *classes], *([name, *row] for name, row in zip(ids, spellings, strict=True))]
    pads = ["", "", "", " ", "  "]

    def cell(text):
        if quoting or not text.isalnum():
            quoted = text.replace('"', '""')
            return f'{rng.choice(pads)}"{quoted}"'
        return f"{rng.choice(pads)}{text}{rng.choice(pads)}"

    lines = [sign.join(map(cell, row)) for row in rows]
    blanks = ["", "", "", "", "  ", sign * wide, f" {sign} "]
    for _ in range(rng.randint(0, 3)):
        lines.insert(rng.randint(0, len(lines)), rng.choice(blanks))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    text = mark + end.join(lines) + draw(st.sampled_from(["", end, end * 3]))
    return LabelTable(np.array(values, bool).reshape(high, wide), ids, classes), text


@given(dialects(), st.data())
@fuzzed("dialects")
def test_dialects(folder, case, data):
    """A table is read back equal from every dialect; a damaged one is, or says in a line why not."""
    table, text = case
    path = folder / "dialect.csv"
    path.write_bytes(text.encode())
    found = read_labels(path, "binary")
    assert (found.ids, found.classes) == (table.ids, table.classes)
    assert (found.labels.values == table.labels).all()
    odd = [b";", b"\t", b"\r", b"True", b"-1", b"\xfe\xff", b"image_id", b" ", b'""']
    path.write_bytes(data.draw(mutated([text.encode(), text.encode("utf-16")], odd)))
    check_labels(path, data.draw(st.sampled_from(Encoding.__args__)))


# --- other kinds and layouts of label files

COLUMNS = {
    "wide": {"image_id": ["a", "b"], "cat": [1, 0], "dog": [0, 1]},
    "lists": {"image_id": ["a", "b"], "labels": [["cat"], ["dog", "cat"]]},
    "long": {"image_id": ["a", "a", "b"], "label": ["cat", "dog", "cat"], "value": [1, 0, 1]},
}
LAYOUTS = {
    "wide": Layout(),
    "lists": Layout(kind="lists", unlisted="unknown"),
    "long": Layout(kind="long", unlisted="negative"),
}


KINDS = (".csv", ".tsv", ".json", "columns.json", ".jsonl", ".parquet")


@pytest.fixture(scope="module")
def laid_out(folder):
    """Files of each layout and kind, which can be read, and their content."""
    found = {}
    for layout in LAYOUTS:
        for kind in KINDS:
            path = written(folder / f"{layout}-fuzzed{kind}", COLUMNS[layout])
            assert outcome(read_labels, path, "binary", layout=LAYOUTS[layout]) is not None
            found[layout, kind] = path, path.read_bytes()
    return found


@given(st.data())
@fuzzed("layouts")
def test_kinds_and_layouts(laid_out, data):
    layout = data.draw(st.sampled_from(sorted(LAYOUTS)))
    path, content = laid_out[layout, data.draw(st.sampled_from(KINDS))]
    odd = [
        b"[",
        b"]",
        b"{",
        b"null",
        b"1.5",
        b"\\ud800",
        b'""',
        b"image_id",
        b";",
        b"true",
        b"[[1]]",
    ]
    path.write_bytes(data.draw(mutated([content], odd)))
    encoding = data.draw(st.sampled_from(Encoding.__args__)) if layout != "lists" else "binary"
    found = outcome(read_labels, path, encoding, layout=LAYOUTS[layout])
    if found is not None:
        assert found.labels.shape == (len(found.ids), len(found.classes))
        assert len(set(found.ids)) == len(found.ids) and "" not in found.ids


# --- datasets


def check_dataset(spec):
    dataset = datasets.create(spec)
    splits = outcome(dataset.load)
    if splits is not None:
        parts = splits.train, splits.val, splits.test
        assert all(len(part.ids) == len(part.labels) == len(part.images) > 0 for part in parts)
        assert outcome(lambda: (splits.fingerprint, splits.warnings)) is not None
        outcome(lambda: splits.test.images[0])
    findings = outcome(dataset.examine)
    assert (findings is None) <= (splits is None)


@pytest.fixture(scope="module")
def damaged(folder):
    """Checks a dataset with one file's content replaced, then puts it back."""

    def check(path, content, spec):
        original = path.read_bytes()
        path.write_bytes(content)
        try:
            check_dataset(spec)
        finally:
            path.write_bytes(original)

    return check


@pytest.fixture(scope="module")
def table(folder):
    root = folder / "table"
    root.mkdir()
    names = [f"{i}.npy" for i in range(12)]
    labels = PartialLabels.full(np.arange(24).reshape(12, 2) % 3 == 0)
    write_labels(root / "y.csv", LabelTable(labels, names, ["cat", "dog"]), "binary")
    write_labels(root / "y.npy", LabelTable(labels, names, ["cat", "dog"]), "binary")
    np.save(root / "x.npy", np.zeros((12, 4, 4, 3), np.uint8))
    lines = [f"{name},{('train', 'val', 'test')[i % 3]}" for i, name in enumerate(names)]
    (root / "splits.csv").write_text("\n".join(["image_id,split", *lines]))
    for name in names:
        (root / name).write_bytes(b"no image")
    return root


@given(st.data())
@fuzzed("table")
def test_table(table, damaged, data):
    name, images = data.draw(
        st.sampled_from([("y.csv", ""), ("y.csv", "x.npy"), ("y.npy", "x.npy"), ("x.npy", "x.npy"), ("splits.csv", "")])
    )  # fmt: skip
    path = table / name
    spec = f"table:labels={table / (name if name[0] == 'y' else 'y.csv')},images={table / images}"
    spec += f",splits={table / 'splits.csv'}" if name == "splits.csv" else ""
    content = data.draw(mutated([path.read_bytes()], [b"../x", b"/etc/passwd", b"\xc3\xa9"]))
    damaged(path, content, spec)


@pytest.fixture(scope="module")
def official(folder):
    root = folder / "official"
    make_coco(root, train=8, val=5, empty=1)
    for path in (root / "coco" / "annotations").iterdir():
        content = json.loads(path.read_text())
        # Few categories and keys, so that most changes matter.
        content["categories"] = content["categories"][:4]
        ids = [c["id"] for c in content["categories"]]
        images = [i["id"] for i in content["images"]]
        content["annotations"] = [
            {"image_id": i, "category_id": c} for i in images for c in ids if (i + c) % 2
        ]
        del content["info"], content["licenses"]
        path.write_text(json.dumps(content))
    make_nus_wide(root, train=9, test=5)
    concepts = root / "NUS-WIDE" / "ConceptsList" / "Concepts81.txt"
    concepts.write_text("".join(f"concept{i:02d}\n" for i in range(4)))
    make_voc(root, "2012", {"train": [f"a{i}" for i in range(8)], "val": ["b1", "b2", "b3"]})
    return root


@given(st.data())
@fuzzed("coco")
def test_coco(official, damaged, data):
    split = data.draw(st.sampled_from(["train2014", "val2014"]))
    path = official / "coco" / "annotations" / f"instances_{split}.json"
    original = path.read_bytes()
    content = data.draw(
        st.one_of(
            mutated_json(json.loads(original)).map(lambda text: text.encode()),
            mutated([original], [b"\\ud800", deep(10_000).encode(), b"1e999"]),
        )
    )
    damaged(path, content, f"coco:root={official},tolerance=0.5")


@given(st.data())
@fuzzed("nus-wide")
def test_nus_wide(official, damaged, data):
    path = official / "NUS-WIDE" / data.draw(
        st.sampled_from(
            ["ConceptsList/Concepts81.txt", "ImageList/TrainImagelist.txt",
             "ImageList/TestImagelist.txt", "Groundtruth/TrainTestLabels/Labels_concept01_Test.txt"]
        )
    )  # fmt: skip
    content = data.draw(mutated([path.read_bytes()], [b"..\\", b"/etc/passwd", b"\r\n" * 50]))
    damaged(path, content, f"nus-wide:root={official},tolerance=0.5")


@given(st.data())
@fuzzed("voc")
def test_voc(official, damaged, data):
    name = data.draw(st.sampled_from(["aeroplane_train", "dog_val", "tvmonitor_train"]))
    path = official / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / f"{name}.txt"
    content = data.draw(mutated([path.read_bytes(), b""], [b"../../x", b" 0", b" 1", b"9" * 5000]))
    damaged(path, content, f"voc:root={official},year=2012,tolerance=0.5")


ANNOTATION = b"""<annotation><size><width>40</width><height>24</height></size>
<object><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax>
</bndbox></object></annotation>"""


@given(
    mutated(
        [ANNOTATION],
        [b'<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;", b"<?xml encoding='x'?>", b"<x>" * 999, b"inf"],
    )
)
@fuzzed("annotations")
def test_annotations(folder, content):
    path = folder / "annotation.xml"
    path.write_bytes(content)
    found = outcome(lambda: VocBoxes([path])[0])
    if found is not None:
        assert found.ndim == 2 and found.shape[1] == 4 and np.isfinite(found).all()


# --- images


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


MODES = {
    "1": ("PNG", "TIFF", "BMP", "PPM"), "L": ("PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG"),
    "P": ("PNG", "GIF", "BMP", "TIFF"), "RGB": ("PNG", "TIFF", "BMP", "WEBP", "PPM", "JPEG"),
    "RGBA": ("PNG", "TIFF", "WEBP"), "LA": ("PNG", "TIFF"), "CMYK": ("TIFF", "JPEG"),
    "YCbCr": ("TIFF", "JPEG"), "I;16": ("PNG", "TIFF"), "I": ("TIFF",), "F": ("TIFF",),
}  # fmt: skip
EXACT = {"1", "L", "P", "RGB", "I;16"}


@st.composite
def image_files(draw):
    """A file, and the pixels that it should show; None where only one clear line may come."""
    mode = draw(st.sampled_from(sorted(MODES)))
    kind = draw(st.sampled_from(MODES[mode]))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    grey = numbers.integers(0, 256, (height, width), dtype=np.uint8)
    if mode == "I;16":
        return encoded(Image.fromarray(grey.astype(np.uint16) * 257), kind), np.stack([grey] * 3, 2)
    if mode in "IF":
        return encoded(
            Image.fromarray(grey.astype(np.int32 if mode == "I" else np.float32)), kind
        ), None
    image = Image.fromarray(numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(
        mode
    )
    seen = np.asarray(image.convert("RGB"))
    return encoded(image, kind), seen if mode in EXACT and kind not in ("JPEG", "WEBP") else ...


@given(case=image_files(), cut=st.integers(0, 60), flip=st.integers(0, 400))
@fuzzed("images")
def test_image_modes(folder, case, cut, flip):
    """Whole files show what they should; damaged ones show something, or give one clear line."""
    content, seen = case
    if cut > 40:
        content = content[: -(cut - 40)]
    elif flip > 300 and len(content) > flip - 300:
        content = (
            content[: flip - 300] + bytes([content[flip - 300] ^ 0xFF]) + content[flip - 299 :]
        )
    whole = content == case[0]
    (folder / "fuzzed").write_bytes(content)
    found = outcome(lambda: FileImages(folder, ["fuzzed"])[0])
    if found is None:
        assert not whole or seen is None
        return
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
    if whole:
        assert seen is not None
        assert seen is ... or np.array_equal(found, seen)


# --- experiments

EXPERIMENT = b"""title = "a" # b
datasets = ["digits:train=10", "voc:year=2012"]
protocol = "linear"
attacks = ["targeted:rate=0.4", "none"]
defenses = ["an", "wan:weight=0.5"]
seeds = 2
epochs = 3
lrs = [1e-3]
batch_sizes = [16]
selection = "clean"
reference = false
d_score = "grid=4"
[[reported]]
dataset = "digits"
attacks = ["none"]
[reported.values]
an = [50.5]
[scale.small]
seeds = 1
"""
GOOD_TOML = {
    "title": '"t"', "datasets": '["digits"]', "model": '"tiny"', "protocol": '"finetune"',
    "attacks": '["none"]', "defenses": '["an"]', "seeds": "1", "epochs": "2", "lrs": "[0.1]",
    "batch_sizes": "[4]", "selection": '"clean"', "reference": "true", "d_score": '"none"',
    "micro_batch": "4", "reported": "[]", "scale": "{small = {seeds = 2}}",
}  # fmt: skip
ODD_TOML = st.recursive(
    st.one_of(
        st.sampled_from(
            ["nan", "inf", "-inf", "-1", "0", "1.5", "1e999", "9" * 400, "9" * 5000,
             "0x" + "f" * 9000, "true", "[]", "{}", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
             '""', '"\\u0000"', '"\\u001b[31m"', '"\\n"', f'"{LONG}"', "'[/b]'", '"digits"',
             deep(100), deep(20_000), "2", "10001", "1e-320", '"none"', "[1, 'a']", "'''\n'''"]
        ),
        st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, max_size=2).map(
            lambda parts: "{" + ", ".join(f"k{n} = {p}" for n, p in enumerate(parts)) + "}"
        ),
    ),
    max_leaves=4,
)  # fmt: skip


@st.composite
def experiments(draw):
    """Valid keys, of which one or two have odd values."""
    kept = draw(st.sets(st.sampled_from(sorted(GOOD_TOML)), max_size=6))
    lines = {key: GOOD_TOML[key] for key in kept}
    for _ in range(draw(st.integers(1, 2))):
        keys = st.sampled_from([*GOOD_TOML, '"\\u001b"', "[scale.small]\nseeds", "reported.values"])
        lines[draw(keys)] = draw(ODD_TOML)
    tables = [line for line in lines if line.startswith("[")]
    plain = [f"{key} = {lines[key]}" for key in lines if key not in tables]
    text = "\n".join([*plain, *(f"{key} = {lines[key]}" for key in tables)])
    return text.encode(errors="surrogatepass")


def check_experiment(path, content, scale):
    path.write_bytes(content)
    values = outcome(read_experiment, path, scale)
    found = None if values is None else outcome(experiment, values, origin=str(path))
    if found is not None:
        full = outcome(resolved, found)
        if full is not None:
            path.write_text(to_toml(full))
            assert experiment(read_experiment(path)) == full
        grids = outcome(found.grids)
        # So many cells are asked for that crossing them takes its time.
        if grids is not None and found.seeds <= 3 and len(found.lrs) <= 3:
            for grid in grids:
                cells = outcome(grid.cells, "")
                assert cells is None or len({cell.key for cell in cells}) == len(cells)


SCALES = st.sampled_from([None, None, None, None, None, "small", "\0"])


@given(
    st.one_of(
        mutated([EXPERIMENT], [b"[[", b"nan", b"'''", b"\x1b", b"seeds=1\n", b"[scale]\n"]),
        st.text(max_size=40).map(lambda text: text.encode(errors="surrogatepass")),
        st.binary(max_size=40),
    ),
    SCALES,
)
@fuzzed("toml-text")
def test_toml_text(folder, content, scale):
    check_experiment(folder / "text.toml", content, scale)


@given(experiments(), SCALES)
@fuzzed("toml-keys")
def test_toml_keys(folder, content, scale):
    check_experiment(folder / "keys.toml", content, scale)


# --- records


@pytest.fixture(scope="module")
def record():
    (cell,) = Grid(
        dataset="digits", model="tiny", protocol="finetune", attacks=("targeted",), defenses=("an",),
        seeds=(0,), lrs=(1e-3,), batch_sizes=(8,), reference=False,
    ).cells("f")  # fmt: skip
    return Record(
        key=cell.key,
        cell=cell,
        status="done",
        removal=Removal(
            requested_rate=0.4, realised_rate=0.4, rate_of="positives", positives_removed=0.4, q_hat=0.9
        ),
        selection_rule="all",
        epochs=[Epoch(loss=0.5, val_map=0.25), Epoch(loss=0.25, val_map=None)],
        selected_epoch=1,
        val_map=0.25,
        test=CleanScores(
            map=0.5, map_micro=0.5, map_voc_11_point=0.5, per_class={"0": 0.5, "1": None}, undefined_classes=1
        ),
        diagnosis=Diagnosis(
            settings=DScoreSettings(), rows=1, columns=2, images=3, attention=[0.5, 0.5],
            features=None, robustness=0.0, fitness=None,
        ),
        libraries={"torch": "2"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(folder, record):
    store = RecordStore(folder / "store")
    store.add(record)
    return folder / "store" / "records" / f"{record.key}.json"


@given(st.data())
@fuzzed("records")
def test_records(stored, record, data):
    """A damaged record is as if it were not there, with a warning; what is read is of its cell."""
    text = record.model_dump_json(indent=1).encode()
    content = data.draw(
        st.one_of(
            mutated_json(json.loads(text)).map(lambda text: text.encode(errors="surrogatepass")),
            mutated([text], [deep(20_000).encode(), b"NaN", b"1e999", b"9" * 5000, b"\\ud800"]),
            st.binary(max_size=30),
        )
    )
    stored.write_bytes(content)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = list(RecordStore(stored.parent.parent))
    assert len(found) == (not warned)
    for read in found:
        assert read.key == read.cell.key == record.key
        assert Record.model_validate_json(read.model_dump_json()) == read
    for warning in warned:
        assert str(warning.message).isprintable() and len(str(warning.message)) < 1000


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["map", "seconds", "q_hat", "loss", "robustness"])
def test_no_number_of_a_record_is_infinite(stored, record, field, number):
    text = re.sub(rf'"{field}":[^,}}]*', f'"{field}":{number}', record.model_dump_json())
    stored.write_text(text)
    assert number in text
    with pytest.warns(UserWarning, match="damaged"):
        assert not list(RecordStore(stored.parent.parent))


# --- the command line

COMMANDS = st.one_of(
    st.tuples(st.just("bench"), st.just("--dry-run"), st.just("--config"), experiments()),
    st.tuples(st.just("bench"), st.just("--dry-run"), st.just("--dataset"), TEXTS),
    st.tuples(st.just("bench"), st.just("--dry-run"), st.just("--d-score"), TEXTS),
    st.tuples(st.just("bench"), st.just("--plugin"), TEXTS),
    st.tuples(st.just("attack"), mutated([b"id,a,b\nx,1,0\ny,0,1\n"]), st.just("--out"), TEXTS),
    st.tuples(st.just("attack"), st.just("--attack"), TEXTS, st.just("x.npy"), st.just("--out=y")),
    st.tuples(st.just("score"), TEXTS, st.just("--cell"), TEXTS),
    st.tuples(st.sampled_from(["show", "report"]), TEXTS),
    st.tuples(st.just("store"), st.sampled_from(["ls", "verify", "gc", "merge", "export"]), TEXTS),
    st.tuples(st.just("config"), st.just("--config"), experiments()),
    st.tuples(st.just("list"), TEXTS),
    st.tuples(st.just("data"), st.sampled_from(["card", "check"]), TEXTS),
    st.tuples(TEXTS, TEXTS),
)


@given(command=COMMANDS)
@fuzzed("command-line")
def test_command_line(folder, command):
    """What is wrong is said with exit code 2; there is no internal error and no traceback."""
    arguments = []
    for argument in command:
        if isinstance(argument, bytes):
            path = folder / ("labels.csv" if "attack" in command else "config.toml")
            path.write_bytes(argument)
            argument = str(path)
        # No argument has a zero in it, and those of a process are bytes.
        arguments.append(re.sub("\0", "", argument).encode("utf-8", "replace").decode())
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(sys, "argv", ["labelattack", *arguments])
        patched.setattr(sys, "stderr", said)
        patched.setattr(sys, "stdout", io.StringIO())
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code in (0, 2), said.getvalue()
    assert "internal error" not in said.getvalue() and "Traceback" not in said.getvalue()


# --- terminals

ENCODINGS = (
    "ascii", "latin-1", "cp1252", "cp437", "cp037", "shift_jis", "gb18030", "koi8-r", "utf-7", "utf-8",
    "utf-8-sig", "utf-16", "utf-16-le", "utf-32",
)  # fmt: skip
ODD_NAMES = st.text(st.characters(), min_size=1, max_size=20) | st.sampled_from(
    [
        "± · × − – — ≤ … ‘x’ “x” ━│┌",
        "犬",
        "ÅÄÖ",
        "🐕",
        "\ud800",
        "\x1b[31m",
        "[red]x[/red]",
        "\n\r",
        "\0",
    ]
)


@pytest.fixture(scope="module")
def board():
    (found,) = boards([fake(0.5, 0.5, seed=seed) for seed in range(2)])
    return found


@given(dataset=ODD_NAMES, defense=ODD_NAMES, reason=ODD_NAMES, encoding=st.sampled_from(ENCODINGS))
@fuzzed("terminal")
def test_boards_on_terminals_of_odd_encodings(board, dataset, defense, reason, encoding):
    """What cannot be written is written otherwise; what was written can be read as it was meant."""
    row = board.rows[0].model_copy(
        update={
            "defense": f"d{defense}".replace(":", ""),
            "measured": {
                "class-drops": ClassDropsSummary(class_drops={}, worst_class=reason, worst_drop=1.0)
            },
            "unreliable": [reason],
        }
    )
    odd = board.model_copy(
        update={
            "dataset": f"d{dataset}".replace(":", ""),
            "rows": [row],
            "unranked": {row.attack: reason},
        }
    )
    written, said = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", written)
        patched.setattr(sys, "stderr", said)
        prepare_streams()
        print_board(odd)
        print_json(json.dumps({"name": reason}, ensure_ascii=False))
        say(f"d{dataset}")
    text = written.buffer.getvalue().decode(encoding)
    assert "50.0" in text and json.loads(text.rstrip("\n").rpartition("\n")[2]) == {"name": reason}
    assert "\x1b" not in text and (encoding != "ascii" or text.isascii())
    assert said.buffer.getvalue().decode(encoding).strip()
