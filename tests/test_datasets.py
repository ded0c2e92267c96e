import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from labelattack import datasets
from labelattack.datasets.base import Split, saturated
from labelattack.datasets.digits import _handwritten
from labelattack.datasets.images import ArrayImages
from labelattack.datasets.voc import CLASSES
from labelattack.errors import DatasetError, LabelError, ParameterError


@pytest.mark.parametrize("file", ["where it is", "elsewhere"])
def test_digits_are_those_that_scikit_learn_loads(monkeypatch, file):
    from sklearn.datasets import load_digits

    if file == "elsewhere":
        monkeypatch.setattr("labelattack.datasets.digits.find_spec", lambda name: None)
    pixels, targets = _handwritten()
    expected = load_digits()
    assert np.array_equal(targets, expected.target)
    assert np.array_equal(pixels, np.rint(expected.images * (255 / 16)).astype(np.uint8))


def test_digits_bias_confines_ink_to_its_half():
    """Without clutter, a half that holds no digit is black."""
    spec = "digits:train=30,val=10,test=30,clutter=0,bias={},test_bias={}"
    left = datasets.create(spec.format("left", "right")).load()
    assert not left.train.images.pixels[:, :, 12:].any()
    assert not left.test.images.pixels[:, :, :12].any()
    top = datasets.create(spec.format("top", "bottom")).load()
    assert not top.train.images.pixels[:, 12:].any()
    assert not top.test.images.pixels[:, :12].any()


def test_digits_labels_say_what_is_there():
    splits = datasets.create("digits:train=400,val=10,test=10,density=1").load()
    assert (splits.train.labels.sum(1) == 1).all()
    assert splits.expected_positives == 1.0
    dense = datasets.create("digits:train=400,val=10,test=10,canvas=48").load()
    assert dense.train.labels.sum(1).mean() == pytest.approx(dense.expected_positives, abs=0.15)


def test_test_labels_without_a_positive_that_counts_are_refused():
    """Otherwise every run would be trained before it is found that it cannot be scored."""
    splits = datasets.create("digits:train=10,val=10,test=10").load()
    images, ids = splits.test.images, splits.test.ids
    like = np.ones_like(splits.test.labels)
    for labels, known in ((False, True), (True, False)):
        test = Split(images, like & labels, ids, like & known)
        with pytest.raises(DatasetError, match="test labels must have a positive that counts"):
            replace(splits, test=test)
    with pytest.raises(DatasetError, match="a known positive and a known negative, got 10 classes"):
        replace(splits, test=Split(images, like, ids))
    with pytest.raises(DatasetError, match=r"known must have the shape .* \(10, 10\), got \(9, 10"):
        Split(images, like, ids, like[1:])


def test_digits_seeds_differ():
    first, second = (
        datasets.create(f"digits:train=20,val=10,test=10,seed={s}").load() for s in (0, 1)
    )
    assert first.fingerprint != second.fingerprint


@pytest.fixture
def voc(tmp_path):
    """Twelve images in the official layout; image 000003 is difficult for cats."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    ids = {"trainval": [f"{i:06d}" for i in range(8)], "test": [f"{i:06d}" for i in range(8, 12)]}
    for split, names in ids.items():
        for c, name in enumerate(CLASSES):
            signs = [
                "0"
                if name == "cat" and i in ("000003", "000009")
                else "1"
                if (int(i) + c) % 3 == 0
                else "-1"
                for i in names
            ]
            lines = "".join(f"{i} {s:>2}\n" for i, s in zip(names, signs, strict=True))
            (folder / "ImageSets" / "Main" / f"{name}_{split}.txt").write_text(lines)
    for name in ids["trainval"] + ids["test"]:
        Image.new("RGB", (12, 8), (int(name), 0, 0)).save(folder / "JPEGImages" / f"{name}.jpg")
    return tmp_path


def test_voc_layout(voc):
    splits = datasets.create(f"voc:root={voc}").load()
    assert (len(splits.train.ids), len(splits.val.ids), len(splits.test.ids)) == (6, 2, 4)
    cat = CLASSES.index("cat")
    assert not splits.test.known[1, cat] and splits.test.known.sum() == 4 * 20 - 1
    assert not splits.test.labels[1, cat]
    assert splits.train.known is None and splits.train.images[0].shape == (8, 12, 3)
    counted = datasets.create(f"voc:root={voc},difficult=negative").load()
    assert counted.test.known is None


def test_voc_missing_images_are_counted_and_tolerated_up_to_a_share(voc):
    (voc / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"may miss 1.0% of its images, got 8.3% \(1 of 12\)"):
        datasets.create(f"voc:root={voc}").load()
    splits = datasets.create(f"voc:root={voc},tolerance=0.1").load()
    assert any("1 of 12 images are missing" in note for note in splits.warnings)
    assert "000001" not in [*splits.train.ids, *splits.val.ids]


def test_voc_absent_folder_says_what_and_where(tmp_path):
    with pytest.raises(
        DatasetError, match="VOCdevkit.VOC2012.*place VOCdevkit/VOC2012/ImageSets/Main"
    ):
        datasets.create(f"voc:year=2012,root={tmp_path}").load()


def test_voc_bad_sign_is_named(voc):
    path = voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "dog_test.txt"
    path.write_text(path.read_text().replace("-1", " 5", 1))
    with pytest.raises(DatasetError, match=r"dog_test.txt' must hold signs"):
        datasets.create(f"voc:root={voc}").load()


def test_truncated_image_is_named(voc):
    path = voc / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000008.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"000008.jpg' cannot be read"):
        datasets.create(f"voc:root={voc}").load().test.images[0]


def test_real_voc_counts(data_root):
    splits = datasets.create(f"voc:root={data_root}").load()
    assert len(splits.train.ids) + len(splits.val.ids) == 5008
    assert len(splits.test.ids) == 4952
    assert 1.4 < splits.train.labels.sum(1).mean() < 1.6


@pytest.fixture
def table(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "cat", "dog"])
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(
                tmp_path / "images" / f"{i}.png"
            )
            writer.writerow([f"{i}.png", i % 2, int(i % 3 == 0)])
    return tmp_path


def test_table_draws_splits(table):
    spec = f"table:labels={table}/labels.csv,images={table}/images"
    splits = datasets.create(spec).load()
    assert [len(s.ids) for s in (splits.train, splits.val, splits.test)] == [12, 3, 5]
    assert list(splits.classes) == ["cat", "dog"]
    name = splits.test.ids[0]
    assert splits.test.labels[0].tolist() == [int(name[:-4]) % 2 == 1, int(name[:-4]) % 3 == 0]


def test_table_takes_given_splits(table):
    lines = ["image_id,split"] + [f"{i}.png,{('train', 'val', 'test')[i % 3]}" for i in range(20)]
    (table / "splits.csv").write_text("\n".join(lines))
    spec = f"table:labels={table}/labels.csv,images={table}/images,splits={table}/splits.csv"
    splits = datasets.create(spec).load()
    assert splits.val.ids == [f"{i}.png" for i in range(1, 20, 3)]
    (table / "splits.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DatasetError, match=r"got nothing for '19.png' \(1 such\)"):
        datasets.create(spec).load()


def test_table_of_arrays(tmp_path):
    np.save(tmp_path / "y.npy", np.eye(4, dtype=np.int8)[np.arange(20) % 4])
    np.save(tmp_path / "x.npy", np.zeros((20, 6, 6), np.uint8))
    splits = datasets.create(f"table:labels={tmp_path}/y.npy,images={tmp_path}/x.npy").load()
    assert splits.train.images[0].shape == (6, 6, 3)
    np.save(tmp_path / "x.npy", np.zeros((19, 6, 6), np.uint8))
    with pytest.raises(DatasetError, match="as many images as labels"):
        datasets.create(f"table:labels={tmp_path}/y.npy,images={tmp_path}/x.npy").load()


def test_table_errors(table):
    with pytest.raises(ParameterError, match="needs parameter 'labels'"):
        datasets.create("table")
    (table / "images" / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 20 images .* the first '.*3.png'"):
        datasets.create(f"table:labels={table}/labels.csv,images={table}/images").load()
    with pytest.raises(LabelError, match="is not there"):
        datasets.create(f"table:labels={table}/no.csv,images={table}/images").load()


def test_classes_without_a_positive_are_reported(tmp_path):
    labels = np.zeros((20, 2), np.int8)
    labels[::2, 0] = 1
    np.save(tmp_path / "y.npy", labels)
    np.save(tmp_path / "x.npy", np.zeros((20, 6, 6), np.uint8))
    splits = datasets.create(f"table:labels={tmp_path}/y.npy,images={tmp_path}/x.npy").load()
    assert any("no positive in test for 1 classes: 1" in note for note in splits.warnings)


def test_only_known_entries_make_a_class_saturated():
    """Columns: all positive; positive where it counts; positive only where it does not; mixed."""
    labels = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    known = np.array([[1, 1, 0, 1], [1, 0, 0, 1]], bool)
    images = ArrayImages(np.zeros((2, 4, 4), np.uint8))
    split = Split(images, labels, ["a", "b"], known)
    assert saturated(split).tolist() == [True, True, False, False]
    assert split.labels.tolist() == (labels & known).tolist()
    assert split.counted.tolist() == known.tolist()
