"""Annotated objects of datasets, against values computed by hand."""

import json
import pickle
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack import datasets
from labelattack.datasets.base import Split
from labelattack.datasets.coco_objects import CocoObjects
from labelattack.datasets.images import ArrayImages
from labelattack.datasets.voc_annotations import VocBoxes, VocObjects
from labelattack.errors import DatasetError
from labelattack.labels.objects import (
    ImageObjects,
    ObjectList,
    SomeObjects,
    as_list,
    covered_share,
    take,
)
from labelattack.process_cache import forget
from tests.conftest import SMALL_DIGITS
from tests.official import make_coco, make_voc
from tests.official_objects import make_lvis


@pytest.fixture(autouse=True)
def _fresh():
    forget()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def random_images(seed, images=6, labels=4):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        count = int(rng.integers(0, 5))
        corners = rng.integers(0, 40, (count, 4)).astype(float)
        corners[:, 2:] += corners[:, :2] + 1
        size = (float(rng.integers(10, 99)), float(rng.integers(10, 99)))
        areas = rng.integers(1, 500, count).astype(float)
        found.append(ImageObjects(rng.integers(0, labels, count), corners, areas, size))
    return found


def equal(one, other):
    return one.size == other.size and all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one[:3], other[:3], strict=True)
    )


@given(st.integers(0, 999), st.lists(st.integers(0, 5)))
def test_a_list_has_the_objects_of_its_images(seed, rows):
    images = random_images(seed)
    listed = ObjectList.from_images(images)
    assert all(equal(listed[n], image) for n, image in enumerate(images))
    rows = np.array(rows, dtype=np.int64)
    for some in (
        take(listed, rows),
        SomeObjects(images, rows),
        take(SomeObjects(images, np.arange(6)), rows),
    ):
        assert all(equal(some[n], images[row]) for n, row in enumerate(rows))
        again = as_list(some, len(rows))
        assert all(equal(again[n], images[row]) for n, row in enumerate(rows))
    assert take(None, rows) is None


@given(st.integers(0, 999))
def test_covered_share_against_loops(seed):
    images = random_images(seed)
    expected = np.zeros((6, 4))
    for row, image in enumerate(images):
        for column, area in zip(image.classes, image.areas, strict=True):
            expected[row, column] += area / (image.size[0] * image.size[1])
    for objects in (images, ObjectList.from_images(images)):
        found = covered_share(objects, 6, 4)
        assert found.dtype == np.float32
        assert np.allclose(found, expected, rtol=1e-6)


def test_objects_are_no_part_of_the_fingerprint():
    images = ArrayImages(np.zeros((6, 4, 4), np.uint8))
    labels, ids = np.ones((6, 4), bool), list("abcdef")
    splits = [Split(images, labels, ids, objects=o) for o in (None, random_images(0))]
    assert splits[0].fingerprint == splits[1].fingerprint


def test_digits_know_their_objects():
    splits = datasets.create(SMALL_DIGITS).load()
    for split in splits.parts.values():
        for row, label in enumerate(split.labels):
            image = split.objects[row]
            assert set(image.classes) == set(np.flatnonzero(label))
            assert np.allclose(image.corners / 24, split.boxes[row])
            assert (image.areas == 64).all() and image.size == (24, 24)
    part = splits.train.take(np.array([5, 3]))
    assert equal(part.objects[1], splits.train.objects[3])
    share = covered_share(splits.train.objects, 60, 10)
    assert np.array_equal(share > 0, splits.train.labels)
    assert share[5].sum() == pytest.approx(64 / 576 * len(splits.train.objects[5].classes))


def voc_xml(objects):
    parts = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
        "</bndbox></part></object>"
        for name, hard, box in objects
    )
    return f"<annotation><size><width>40</width><height>24</height></size>{parts}</annotation>"


def test_voc_reads_objects_from_xml(root):
    names = [f"2008_{i:06d}" for i in range(10)]
    make_voc(root, "2012", {"train": names, "val": ["2009_000001", "2009_000002"]})
    assert datasets.create(f"voc:year=2012,root={root}").load().train.objects is None
    folder = root / "VOCdevkit" / "VOC2012" / "Annotations"
    folder.mkdir()
    for i, name in enumerate(names):
        objects = [
            ("dog", 0, (1, 3, 10 + i, 12)),
            ("cat", 1, (1, 1, 9, 9)),
            ("dog", 0, (5, 5, 8, 6)),
        ]
        (folder / f"{name}.xml").write_text(voc_xml(objects[: 3 if i else 2]))
    splits = datasets.create(f"voc:year=2012,root={root}").load()
    for split in (splits.train, splits.val):
        share = covered_share(split.objects, len(split), 20)
        for row, name in enumerate(split.ids):
            i = int(name[-6:])
            image = split.objects[row]
            assert image.classes.tolist() == [11] * (2 if i else 1)
            assert image.corners[0].tolist() == [2, 0, 12, 10 + i]
            areas = [10 * (10 + i), 4 * 2][: 2 if i else 1]
            assert image.areas.tolist() == areas and image.size == (24, 40)
            assert np.allclose(image.corners / [24, 40, 24, 40], split.boxes[row])
            assert share[row, 11] == pytest.approx(sum(areas) / 960)
            assert np.count_nonzero(share[row]) == 1


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([("dgo", 0, (1, 1, 2, 2))], "unknown class 'dgo'; did you mean 'dog'"),
        ([("dog", 0, (1, 1, 2, 2)), ("dog", 0, (9, 1, 2, 2))], "got .* for object 2, 'dog'"),
        ([("dog", 0, (1, 1, "nan", 2))], "corners finite"),
    ],
)
def test_damaged_voc_objects_are_refused(tmp_path, objects, message):
    path = tmp_path / "a.xml"
    path.write_text(voc_xml(objects))
    with pytest.raises(DatasetError, match=rf"annotation '.*a\.xml' cannot be read: .*{message}"):
        VocObjects([path], ["cat", "dog"])[0]
    path.write_text(voc_xml([("dgo", 0, (1, 1, 2, 2))]))
    assert VocBoxes([path])[0].shape == (1, 4)


def edited(path, damage):
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    return content


def different_boxes(content):
    for n, annotation in enumerate(content["annotations"]):
        annotation |= {"bbox": [n % 7 + 0.25, n % 5, 3.5 + n % 4, n % 6], "area": 2.5 + n}
    for n, image in enumerate(content["images"]):
        image |= {"height": 24 + n, "width": 40 + n}


def expected_objects(content, classes):
    """Objects by image id and class name, from plain loops."""
    names = {c["id"]: c["name"] for c in content["categories"]}
    sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
    found = defaultdict(list)
    for annotation in content["annotations"]:
        left, top, width, height = annotation["bbox"]
        corners = (top, left, top + height, left + width)
        column = classes.index(names[annotation["category_id"]])
        found[annotation["image_id"]].append((column, corners, annotation["area"]))
    return found, sizes


def check_objects(split, content, classes):
    found, sizes = expected_objects(content, classes)
    share = covered_share(split.objects, len(split), len(classes))
    assert np.array_equal(share > 0, split.labels)
    for row, name in enumerate(split.ids):
        key = int(name.rpartition("/")[2].removesuffix(".jpg"))
        image, expected = split.objects[row], found[key]
        assert image.size == sizes[key]
        assert image.classes.tolist() == [column for column, _, _ in expected]
        assert np.array_equal(image.corners, np.array([c for _, c, _ in expected]).reshape(-1, 4))
        assert image.areas.tolist() == [area for _, _, area in expected]
        for column in image.classes:
            area = sum(a for c, _, a in expected if c == column)
            assert share[row, column] == pytest.approx(area / np.prod(sizes[key]), rel=1e-6)


def test_coco_reads_objects_when_they_are_used(root, monkeypatch):
    make_coco(root)
    folder = root / "coco" / "annotations"
    content = {
        name: edited(folder / f"instances_{name}2014.json", different_boxes)
        for name in ("train", "val")
    }
    parsed = CocoObjects._parsed
    calls = []
    monkeypatch.setattr(CocoObjects, "_parsed", lambda self: calls.append(1) or parsed(self))
    for empty in ("drop", "keep"):
        splits = datasets.create(f"coco:root={root},empty={empty}").load()
        assert len(calls) == (0 if empty == "drop" else 2)
        for split, name in ((splits.train, "train"), (splits.val, "train"), (splits.test, "val")):
            check_objects(split, content[name], splits.classes)
        forget()  # the next ones come from the cache folder
    assert len(calls) == 2
    assert len(pickle.dumps(splits.train.take(np.arange(2)).objects)) < 2000


def test_lvis_reads_objects_when_they_are_used(root):
    make_lvis(root)
    content = {
        name: edited(root / "lvis" / f"lvis_v1_{name}.json", different_boxes)
        for name in ("train", "val")
    }
    splits = datasets.create(f"lvis:root={root}").load()
    for split, name in ((splits.train, "train"), (splits.val, "train"), (splits.test, "val")):
        check_objects(split, content[name], splits.classes)


def annotation(**changes):
    return lambda content: content["annotations"][3].update(changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (annotation(bbox=[1, 2, 3]), r"annotations\[3\] must have left, top, width and height"),
        (annotation(bbox=None), r"annotations\[3\] must have left, top, width .* got None"),
        (
            annotation(bbox=[1, 2, -3, 4]),
            r"annotations\[3\] must have no negative number as 'bbox'",
        ),
        (annotation(bbox=[1, "2", 3, 4]), r"annotations\[3\] must have a finite number as 'bbox'"),
        (annotation(area=None), r"annotations\[3\] must have a finite number as 'area', got None"),
        (annotation(area=1e300), r"annotations\[3\] must have a finite number as 'area'"),
        (lambda c: c["images"][2].pop("width"), r"images\[2\] must have a finite .* 'width'"),
        (lambda c: c["images"][2].update(height=0), r"images\[2\] must have a number above 0"),
    ],
)
def test_damaged_coco_objects_are_refused(root, damage, message):
    make_coco(root)
    path = root / "coco" / "annotations" / "instances_train2014.json"
    edited(path, damage)
    splits = datasets.create(f"coco:root={root}").load()  # labels need neither
    with pytest.raises(DatasetError, match=f"instances_train2014.json' must hold .*{message}"):
        splits.train.objects[0]


def test_a_replaced_file_is_refused(root):
    make_coco(root)
    path = root / "coco" / "annotations" / "instances_train2014.json"
    splits = datasets.create(f"coco:root={root},empty=keep").load()

    def without_an_image(content):
        gone = content["images"].pop()["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]

    edited(path, without_an_image)
    with pytest.raises(DatasetError, match="must stay as it was .* with 10 images, got 9"):
        splits.train.objects[0]
