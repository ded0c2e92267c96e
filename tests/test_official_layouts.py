import json
import tracemalloc

import numpy as np
import pytest

from labelattack import datasets
from labelattack.datasets import coco as coco_file
from labelattack.datasets.card import checksum
from labelattack.errors import DatasetError
from labelattack.testing import dataset_checks
from tests.official import make_coco, make_nus_wide, make_voc


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
    assert checksum(labels) != checksum(labels.reshape(8, 3)) != checksum(labels[:2])
    assert checksum(labels) == checksum(np.asfortranarray(labels))


def test_real_voc_has_the_published_labels(data_root):
    findings = datasets.create("voc:year=2007").examine()
    matrices = [f for f in findings if f.what.endswith("label matrix")]
    assert len(matrices) == 2 and all(f.fine for f in matrices)


def test_real_coco_labels_have_the_checksum_on_the_card(data_root):
    path = data_root / "coco2014" / "train2014_labels.npz"
    if not path.is_file():
        pytest.skip("needs the COCO label matrix")
    labels = np.load(path, allow_pickle=False)["labels"] == 1
    assert checksum(labels) == datasets.create("coco").card().checksums["train2014"]


def test_loading_holds_names_and_labels_and_no_pixels(root):
    """What grows is names and labels, about a kilobyte an image at the worst moment."""
    sizes = []
    for count in (200, 2000):
        here = root / str(count)
        make_nus_wide_lists(here, count)
        tracemalloc.start()
        splits = datasets.create(f"nus-wide:root={here},tolerance=0").load()
        sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(splits.test.ids) == count
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
