import gc
import json
import os
import tracemalloc

import numpy as np
import pytest

from labelattack import datasets
from labelattack.datasets import coco as coco_file
from labelattack.datasets.dataset_card import checksum
from labelattack.errors import DatasetError
from labelattack.labels import PartialLabels
from labelattack.testing import dataset_checks
from tests.official import make_coco, make_nus_wide, make_voc, picture


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_reads_the_official_layout(root, year):
    truth = make_coco(root, year)
    splits = datasets.create(f"coco:year={year},root={root}").load()
    assert len(splits.classes) == 80
    assert splits.classes == sorted(splits.classes, key=lambda name: int(name.split()[1]))
    assert (len(splits.train.ids), len(splits.val.ids), len(splits.test.ids)) == (6, 2, 4)
    for part, name in ((splits.train, "train"), (splits.val, "train"), (splits.test, "val")):
        for image, row in zip(part.ids, part.labels, strict=True):
            split, _, number = image.partition("/")
            assert split == f"{name}{year}"
            assert set(np.flatnonzero(row)) == truth[split][int(number)]
    assert splits.train.images[0].shape == (24, 40, 3)
    assert splits.expected_positives == 2.9
    kept = datasets.create(f"coco:year={year},root={root},empty=keep").load()
    assert len(kept.train.ids) + len(kept.val.ids) == 10 and len(kept.test.ids) == 6
    assert (~kept.test.labels.any(axis=1)).sum() == 2


def test_coco_parses_once_and_again_if_the_file_changes(root, monkeypatch):
    make_coco(root)
    spec = f"coco:root={root}"
    first = datasets.create(spec).load().fingerprint
    with monkeypatch.context() as patched:
        patched.setattr(coco_file, "_parsed", lambda path: pytest.fail("parsed again"))
        assert datasets.create(spec).load().fingerprint == first
    path = root / "coco" / "annotations" / "instances_train2014.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:-4]
    path.write_text(json.dumps(content))
    assert datasets.create(spec).load().fingerprint != first


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c["annotations"].append({"image_id": 1}), "must hold COCO's images"),
        (lambda c: c["categories"].pop(), "must hold COCO's images|same categories"),
    ],
)
def test_coco_says_what_is_wrong_with_a_file(root, damage, message):
    make_coco(root)
    path = root / "coco" / "annotations" / "instances_train2014.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        datasets.create(f"coco:root={root}").load()
    path.write_text('{"images": [')
    with pytest.raises(DatasetError, match="must be JSON"):
        datasets.create(f"coco:root={root}").load()


def test_nus_wide_reads_the_official_layout(root):
    truth = make_nus_wide(root)
    splits = datasets.create(f"nus-wide:root={root}").load()
    assert (len(splits.train.ids), len(splits.val.ids), len(splits.test.ids)) == (8, 2, 6)
    assert (splits.test.labels == truth["Test"]).all()
    for part in (splits.train, splits.val):
        rows = [int(name.split("/")[1][:4]) for name in part.ids]
        assert (part.labels == truth["Train"][rows]).all()
    assert (~splits.test.labels.any(axis=1)).any()  # rows without any label stay
    assert splits.test.images[0].shape == (24, 40, 3)
    bad = root / "NUS-WIDE" / "Groundtruth" / "TrainTestLabels" / "Labels_concept03_Test.txt"
    bad.write_text("1\n0\n")
    with pytest.raises(DatasetError, match="one line for each of the 6 images"):
        datasets.create(f"nus-wide:root={root}").load()
    bad.write_text("1\n0\n2\n0\n0\n1\n")
    with pytest.raises(DatasetError, match="a line 0 or 1"):
        datasets.create(f"nus-wide:root={root}").load()


def test_voc_2012_trains_on_train_and_tests_on_val(root):
    make_voc(
        root,
        "2012",
        {"train": [f"2008_{i:06d}" for i in range(10)], "val": [f"2009_{i:06d}" for i in range(5)]},
    )
    splits = datasets.create(f"voc:year=2012,root={root}").load()
    assert (len(splits.train.ids), len(splits.val.ids), len(splits.test.ids)) == (8, 2, 5)
    assert all(name.startswith("2009") for name in splits.test.ids)


@pytest.mark.parametrize("name", ["coco", "nus-wide", "voc:year=2012"])
def test_an_absent_dataset_says_what_to_place_where(root, name):
    sign = "," if ":" in name else ":"
    with pytest.raises(
        DatasetError, match="is not there; it is never downloaded: place .* under LABELATTACK_DATA"
    ) as error:
        datasets.create(f"{name}{sign}root={root}").load()
    assert str(root) in str(error.value)
    assert not all(f.fine for f in datasets.create(f"{name}{sign}root={root}").examine())


def specs(root):
    make_coco(root)
    make_nus_wide(root)
    make_voc(
        root,
        "2012",
        {"train": [f"2008_{i:06d}" for i in range(10)], "val": [f"2009_{i:06d}" for i in range(5)]},
    )
    return [f"coco:root={root}", f"nus-wide:root={root}", f"voc:root={root},year=2012"]


def test_contracts_missing_images_and_examination(root):
    for spec in specs(root):
        for check in dataset_checks(spec):
            check()
    for spec, gone in zip(
        specs_of(root),
        (
            "coco/val2014/*.jpg",
            "NUS-WIDE/Flickr/zoo/*.jpg",
            "VOCdevkit/VOC2012/JPEGImages/2008*.jpg",
        ),
        strict=True,
    ):
        path = sorted(root.glob(gone))[-1]
        path.unlink()
        with pytest.raises(DatasetError, match="may miss 1.0% of its images"):
            datasets.create(spec).load()
        splits = datasets.create(f"{spec},tolerance=0.5").load()
        assert any("are missing and left out" in note for note in splits.warnings)
        findings = datasets.create(spec).examine()
        assert any(
            f"missing {path.stem.split('_')[0]}" in f.found or "missing" in f.found
            for f in findings
            if not f.fine
        )


def specs_of(root):
    return [f"coco:root={root}", f"nus-wide:root={root}", f"voc:root={root},year=2012"]


def test_checksum_is_of_shape_and_bits():
    labels = np.eye(3, 8, dtype=np.bool_)
    of, full = checksum, PartialLabels.full
    assert of(full(labels)) != of(full(labels.reshape(8, 3))) != of(full(labels[:2]))
    assert of(full(labels)) == of(full(np.asfortranarray(labels)))
    gaps = PartialLabels(labels, labels)
    entries = PartialLabels.from_entries((3, 8), *np.nonzero(labels), gaps.known_values)
    assert of(full(labels)) == of(gaps) == of(entries)


def test_real_voc_has_the_published_labels(data_root):
    findings = datasets.create("voc:year=2007").examine()
    matrices = [f for f in findings if f.what.endswith("label matrix")]
    assert len(matrices) == 2 and all(f.fine for f in matrices)


def test_real_coco_labels_have_the_checksum_on_the_card(data_root):
    path = data_root / "coco2014" / "train2014_labels.npz"
    if not path.is_file():
        pytest.skip("needs the COCO label matrix")
    labels = np.load(path, allow_pickle=False)["labels"] == 1
    assert (
        checksum(PartialLabels.full(labels))
        == datasets.create("coco").card().checksums["train2014"]
    )


def test_loading_holds_names_and_labels_and_no_pixels(root):
    """What grows is names and labels, about a kilobyte an image at the worst moment."""
    sizes = []
    for count in (200, 2000):
        here = root / str(count)
        make_nus_wide_lists(here, count)
        datasets.create(f"nus-wide:root={here},tolerance=0").load()  # what is imported stays
        peaks = []
        for _ in range(3):  # in one of them Python's table of interned names may grow, by megabytes
            gc.collect()
            tracemalloc.start()
            splits = datasets.create(f"nus-wide:root={here},tolerance=0").load()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert len(splits.test.ids) == count
        sizes.append(min(peaks))
    assert (sizes[1] - sizes[0]) / (2 * 1800) < 1200


def make_nus_wide_lists(root, count):
    make_nus_wide(root, train=1, test=1)
    folder = root / "NUS-WIDE"
    for split in ("Train", "Test"):
        names = [f"zoo\\{i:06d}_{split}.jpg" for i in range(count)]
        (folder / "ImageList" / f"{split}Imagelist.txt").write_text("\n".join(names))
        for path in (folder / "Groundtruth" / "TrainTestLabels").glob(f"*_{split}.txt"):
            path.write_text("1\n0\n" * (count // 2))
        for name in names:
            (folder / "Flickr" / name.replace("\\", "/")).write_bytes(b"")


# --- what people's copies look like


def change(path, damage):
    """Replaces the content of a JSON file."""
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def instances(root):
    """The training annotations of a miniature of COCO."""
    make_coco(root)
    return root / "coco" / "annotations" / "instances_train2014.json"


def as_texts(entries, *keys):
    for entry in entries:
        entry.update({key: f"{entry[key]:012d}" for key in keys})


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: as_texts(c["images"], "id"),
        lambda c: as_texts(c["annotations"], "image_id", "category_id"),
        lambda c: as_texts(c["categories"], "id"),
        lambda c: [a.update(image_id=float(a["image_id"])) for a in c["annotations"]],
    ],
)
def test_coco_ids_may_be_numbers_or_texts(root, instances, damage):
    before = datasets.create(f"coco:root={root}").load().fingerprint
    change(instances, damage)
    assert datasets.create(f"coco:root={root}").load().fingerprint == before


def test_coco_may_begin_with_a_byte_order_mark(root, instances):
    before = datasets.create(f"coco:root={root}").load().fingerprint
    instances.write_bytes(b"\xef\xbb\xbf" + instances.read_bytes())
    assert datasets.create(f"coco:root={root}").load().fingerprint == before
    instances.write_text(instances.read_text("utf-8-sig"), "utf-16")
    with pytest.raises(DatasetError, match="train2014.json' must be JSON.*got UTF-16"):
        datasets.create(f"coco:root={root}").load()


COCO_FAULTS = [
    (lambda c: c["annotations"][2].update(image_id=999999), r"annotations\[2\] is of image 999999, .*1 such"),
    (lambda c: c["annotations"][3].update(category_id=999), r"annotations\[3\] is of category 999"),
    (lambda c: c["annotations"][0].update(image_id="x7"), r"annotations\[0\] .*'image_id', got 'x7'"),
    (lambda c: c["annotations"][0].update(image_id=True), r"annotations\[0\] .*'image_id', got True"),
    (lambda c: c["images"][1].pop("id"), r"images\[1\] must have a whole number as 'id', got None"),
    (lambda c: c["images"][1].update(id=1.5), r"images\[1\] must have .*, got 1.5"),
    (lambda c: c["images"][1].update(file_name=5), r"images\[1\] must have a text as 'file_name'"),
    (lambda c: c["images"].append(dict(c["images"][0], file_name="x")), r"'id' of 'images' .*images\[0\] and .* images\[10\] .1 such"),
    (lambda c: c["images"].append(dict(c["images"][0], id=1)), r"'file_name' of 'images' .*once.*images\[0\]"),
    (lambda c: c["categories"].append(dict(c["categories"][0], id=95)), r"'name' of 'categories' .*once"),
    (lambda c: c.pop("annotations"), r"has no annotations; .*instances_.*image_info"),
    (lambda c: c.pop("categories"), r"has no categories; .*instances_.*captions"),
    (lambda c: c["annotations"].append(7), r"annotations\[\d+\] must be an object, got 7"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), COCO_FAULTS)
def test_coco_names_file_entry_and_value(root, instances, damage, message):
    change(instances, damage)
    with pytest.raises(DatasetError, match=f"instances_train2014.json.*{message}|{message}.*json"):
        datasets.create(f"coco:root={root}").load()


@pytest.fixture
def voc(root):
    """A miniature of VOC 2012."""
    make_voc(root, "2012", {"train": [f"a{i}" for i in range(6)], "val": ["b1", "b2", "b3"]})
    return root / "VOCdevkit" / "VOC2012"


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".Jpeg"])
def test_voc_reads_images_whose_suffix_is_written_otherwise(root, voc, suffix):
    for path in (voc / "JPEGImages").iterdir():
        path.rename(path.with_suffix(suffix))
    splits = datasets.create(f"voc:root={root},year=2012").load()
    assert splits.test.ids == ["b1", "b2", "b3"] and splits.test.images[0].shape == (24, 40, 3)


def test_voc_does_not_choose_between_two_files(root, voc):
    image = voc / "JPEGImages" / "b2.jpg"
    image.with_suffix(".JPG").write_bytes(b"")
    assert datasets.create(f"voc:root={root},year=2012").load().test.images[1].any()
    image.rename(image.with_suffix(".jpeg"))
    with pytest.raises(DatasetError, match=r"'b2' must be one file of .*'b2.(JPG|jpeg)' and 'b2"):
        datasets.create(f"voc:root={root},year=2012").load()


def test_lists_may_begin_with_a_byte_order_mark(root, voc):
    make_nus_wide(root)
    lists = [voc / "ImageSets" / "Main" / "aeroplane_train.txt", *root.glob("NUS-WIDE/*/*.txt")]
    specs = (f"voc:root={root},year=2012", f"nus-wide:root={root}")
    before = [datasets.create(spec).load().fingerprint for spec in specs]
    for path in (*lists, *root.glob("NUS-WIDE/*/*/*concept03_Test.txt")):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    assert [datasets.create(spec).load().fingerprint for spec in specs] == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("b2", "b2 x", "lines 'image sign', got line 2: 'b2 x "),
        ("b2 -1", "b2  7", "signs -1, 0 or 1, got line 2: 'b2  7'"),
        ("b2 -1", "\nb2", "lines 'image sign', got line 3: 'b2'"),
        ("b2", "b1", "once, got 'b1' at line 1 and 'b1' at line 2 .1 such"),
        ("b2", "b9", "aeroplane_val.txt', got 'b9' for 'b2' at image 2"),
        ("b2 -1\n", "", "aeroplane_val.txt', got 'b3' for 'b2' at image 2"),
        ("b2 -1\n", "b2 -1\n\xe9 1\n", "got byte 0xe9 at line 3"),
    ],
)
def test_voc_names_file_line_and_text(root, voc, old, new, message):
    path = voc / "ImageSets" / "Main" / "bird_val.txt"
    path.write_text(path.read_text().replace("b2  1", "b2 -1"))
    path.write_bytes(path.read_text().replace(old, new).encode("latin-1"))
    with pytest.raises(DatasetError, match=f"bird_val.txt'.*{message}"):
        datasets.create(f"voc:root={root},year=2012").load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ImageList/TestImagelist.txt", "a\\b.jpg\nc.jpg\n\na//b.jpg\n", r"'a\\b.jpg' at line 1 and 'a//b.jpg' at line 4"),
        ("ConceptsList/Concepts81.txt", "x\ny\nx\n", "once, got 'x' at line 1 and 'x' at line 3"),
        ("Groundtruth/TrainTestLabels/Labels_concept03_Test.txt", "1\n0\n\n1 0\n0\n", "a line 0 or 1 .*got line 4: '1 0'"),
        ("Groundtruth/TrainTestLabels/Labels_concept03_Test.txt", "1\r\n0\r\nx1\r\n", "a line 0 or 1 .*got line 3: 'x1'"),
    ],
)  # fmt: skip
def test_nus_wide_names_file_line_and_text(root, name, content, message):
    make_nus_wide(root)
    path = root / "NUS-WIDE" / name
    path.write_bytes(content.encode())
    with pytest.raises(DatasetError, match=f"{path.name}'.*{message}"):
        datasets.create(f"nus-wide:root={root}").load()


@pytest.mark.parametrize(
    ("spec", "images", "first"),
    [
        ("voc:year=2012,", "VOCdevkit/VOC2012/JPEGImages/*.jpg", "a0.jpg"),
        ("coco:", "coco/train2014/*.jpg", r"COCO_train2014_\d+.jpg"),
        ("nus-wide:", "NUS-WIDE/Flickr/*/*_Train.jpg", "zoo/0000_Train.jpg"),
    ],
)
def test_the_first_image_that_was_looked_for_is_named(root, voc, spec, images, first):
    make_coco(root)
    make_nus_wide(root)
    paths = sorted(root.glob(images))
    for path in paths:
        path.rename(path.with_name(f"{path.stem}.PNG" if "voc" in spec else path.name.upper()))
    hint = "" if "voc" in spec else ".*there is '.*JPG', whose name differs in case"
    with pytest.raises(DatasetError, match=f"no image of .* first looked for is '.*{first}'{hint}"):
        datasets.create(f"{spec}root={root}").load()


def test_a_table_names_the_image_that_differs_in_case(tmp_path):
    picture(tmp_path / "Sub" / "A.PNG", 0)
    (tmp_path / "y.csv").write_text("image_id,cat\nsub\\a.png,1\n")
    with pytest.raises(DatasetError, match="first '.*sub/a.png' .there is '.*Sub/A.PNG', whose"):
        datasets.create(f"table:labels={tmp_path}/y.csv,images={tmp_path}").load()


def test_coco_annotations_replaced_by_others_of_equal_size_are_read_anew(tmp_path):
    make_coco(tmp_path, train=8, val=5)
    path = tmp_path / "coco" / "annotations" / "instances_train2014.json"
    spec = f"coco:root={tmp_path},tolerance=0.5"
    before, about = datasets.create(spec).load(), path.stat()
    (kind,) = (name for name in before.classes if name == before.classes[3])
    path.write_text(path.read_text().replace(f'"{kind}"', f'"{kind[::-1]}"'))
    other = tmp_path / "coco" / "annotations" / "instances_val2014.json"
    other.write_text(other.read_text().replace(f'"{kind}"', f'"{kind[::-1]}"'))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    assert kind[::-1] in datasets.create(spec).load().classes
