"""Hugging Face datasets on disk, and datasets of torch."""

import io
import json
import os
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

import labelattack
from labelattack import datasets
from labelattack.datasets.torch_dataset import from_torch
from labelattack.errors import DatasetError, LabelAttackError

COUNT = 40
VALUES = np.random.default_rng(0).random((COUNT, 3)) < 0.5
CLASSES = ["cat", "dog", "red fox"]
PIXELS = np.random.default_rng(1).integers(0, 255, (COUNT, 9, 8, 3), dtype=np.uint8)
LISTS = [[int(c) for c in np.flatnonzero(row)] for row in VALUES]


@pytest.fixture(scope="module")
def hf():
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    return pytest.importorskip("datasets")


@pytest.fixture
def saved(hf, tmp_path):
    """Saves columns as a dataset; ``parts`` says which rows are in which split."""

    def save(labels, feature, parts=None, **more):
        columns = {
            "image": [Image.fromarray(pixels) for pixels in PIXELS],
            "labels": labels,
            **more,
        }
        types = {"image": hf.Image(), "labels": feature} | {
            name: hf.Value("string") for name in more
        }
        whole = hf.Dataset.from_dict(columns, features=hf.Features(types))
        path = tmp_path / "saved"
        if parts is not None:
            whole = hf.DatasetDict({name: whole.select(rows) for name, rows in parts.items()})
        whole.save_to_disk(str(path))
        return path

    return save


def load(path, more):
    return datasets.create(f"hf:path={path},{more}").load()


def lists_of(hf, feature):
    return hf.Sequence(feature)


def check(splits, encoded=VALUES):
    """Each image has its own pixels and labels; returns the rows of each split."""
    found = {}
    for name, part in splits.parts.items():
        rows = []
        for n in range(len(part)):
            (row,) = np.flatnonzero((part.images[n] == PIXELS).all(axis=(1, 2, 3)))
            rows.append(int(row))
        assert (part.labels == encoded[rows]).all()
        found[name] = rows
    assert splits.classes == CLASSES
    return found


def test_one_split_is_divided_in_three(hf, saved):
    path = saved(LISTS, lists_of(hf, hf.ClassLabel(names=CLASSES)))
    splits = load(path, "unlisted=negative")
    rows = check(splits)
    assert [len(part) for part in rows.values()] == [24, 6, 10]
    assert sorted(chain(*rows.values())) == list(range(COUNT))
    assert splits.train.ids[0] == f"train-{rows['train'][0]}"
    assert splits.train.partial.is_complete
    assert load(path, "unlisted=negative").fingerprint == splits.fingerprint
    other = load(path, "unlisted=unknown")
    assert other.train.positive_only and other.fingerprint != splits.fingerprint


def test_splits_stay_as_they_are(hf, saved):
    parts = {"train": range(20), "validation": range(20, 30), "test": range(30, COUNT)}
    names = [[CLASSES[c] for c in own] for own in LISTS]
    path = saved(names, lists_of(hf, hf.Value("string")), parts)
    rows = check(load(path, "unlisted=negative"))
    assert rows == {
        "train": [*parts["train"]],
        "val": [*parts["validation"]],
        "test": [*parts["test"]],
    }
    rows = check(load(path, "unlisted=negative,val_split="))
    assert rows["test"] == [*parts["test"]] and len(rows["train"]) == 17 and len(rows["val"]) == 3
    with pytest.raises(
        DatasetError, match="test_split must name a split of '.*', got 'tst'; did you mean 'test'"
    ):
        load(path, "unlisted=negative,test_split=tst")
    with pytest.raises(
        DatasetError, match="val_split must name .* got 'val'.*an empty one holds images"
    ):
        load(path, "unlisted=negative,val_split=val")


@pytest.mark.parametrize("hidden", [False, True])
def test_labels_may_be_rows_of_numbers(hf, saved, tmp_path, hidden):
    known = np.random.default_rng(2).random(VALUES.shape) < (0.6 if hidden else 2)
    rows = np.where(known, VALUES, -1).astype(int).tolist()
    path = saved(rows, lists_of(hf, hf.Value("int64")), name=[f"i{n}" for n in range(COUNT)])
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    more = f"classes={tmp_path}/classes.txt,image_id=name,encoding="
    splits = load(path, more + ("missing" if hidden else "binary"))
    rows = check(splits, VALUES & known)
    assert splits.test.ids == [f"i{row}" for row in rows["test"]]
    for name, part in splits.parts.items():
        assert (part.partial.observed == known[rows[name]]).all()
    if hidden:
        with pytest.raises(
            DatasetError, match="got -1 at row .*they fit encoding 'signed' and 'missing'"
        ):
            load(path, more + "binary")
    with pytest.raises(DatasetError, match="encoding= must say what these mean"):
        load(path, "image_id=name")


def test_a_folder_of_images_with_metadata(hf, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = []
    for n in range(COUNT):
        Image.fromarray(PIXELS[n]).save(folder / f"{n}.png")
        lines.append(
            json.dumps({"file_name": f"{n}.png", "labels": [CLASSES[c] for c in LISTS[n]]})
        )
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    rows = check(load(folder, "unlisted=negative"))
    assert sorted(chain(*rows.values())) == list(range(COUNT))


def test_what_is_wrong_is_said(hf, saved, tmp_path):
    path = saved(LISTS, lists_of(hf, hf.ClassLabel(names=CLASSES)))
    for more, message in [
        ("image=image", "unlisted must be negative or unknown"),
        ("unlisted=negative,labels=label", "no column is 'label'; did you mean 'labels'"),
        ("unlisted=negative,image=labels", "column 'labels' must hold images"),
        ("unlisted=negative,image=picture", "no column is 'picture'"),
        ("unlisted=negative,encoding=binary", "encoding must be left out"),
        ("unlisted=negative,val=0.6,test=0.6", r"val \+ test must be below 1"),
    ]:
        with pytest.raises(LabelAttackError, match=message) as said:
            load(path, more)
        assert "\n" not in str(said.value)
    with pytest.raises(
        DatasetError, match="must be the folder of a Hugging Face dataset, got '.*none'"
    ):
        load(tmp_path / "none", "unlisted=negative")
    for file in path.rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DatasetError, match="dataset '.*saved' cannot be read"):
        load(path, "unlisted=negative")


def test_splits_have_the_same_classes(hf, saved, tmp_path):
    parts = {"train": range(20), "validation": range(20, 30), "test": range(30, COUNT)}
    path = saved(LISTS, lists_of(hf, hf.ClassLabel(names=CLASSES)), parts)
    found = hf.load_from_disk(str(path))
    other = lists_of(hf, hf.ClassLabel(names=CLASSES[::-1]))
    found["test"] = found["test"].cast_column("labels", other)
    found.save_to_disk(str(tmp_path / "other"))
    with pytest.raises(DatasetError, match="same columns of the same types, got others in test"):
        load(tmp_path / "other", "unlisted=negative")


def test_damaged_images_are_named(hf, tmp_path):
    content = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(content, "PNG")
    files = [
        {"bytes": content.getvalue() if n else b"no image", "path": f"{n}.png"} for n in range(12)
    ]
    features = hf.Features({"image": hf.Image(), "labels": lists_of(hf, hf.Value("string"))})
    labels = [["cat"] if n % 2 else ["dog"] for n in range(12)]
    whole = hf.Dataset.from_dict({"image": files, "labels": labels}, features=features)
    whole.save_to_disk(str(tmp_path / "saved"))
    splits = load(tmp_path / "saved", "unlisted=negative")
    from labelattack.datasets.verification import verify

    with pytest.raises(DatasetError, match=r"image '0.png' cannot be read"):
        verify(splits)


OFFLINE = """
import socket, sys
def none(*a, **k): raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = none
from labelattack import datasets
splits = datasets.create(f"hf:path={sys.argv[1]},unlisted=negative").load()
print(len(splits.train), splits.train.images[0].shape)
"""


def test_nothing_is_asked_of_a_network(hf, saved):
    path = saved(LISTS, lists_of(hf, hf.ClassLabel(names=CLASSES)))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    said = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.split() == ["24", "(9,", "8,", "3)"], said.stderr


# --- torch


class Torch(torch.utils.data.Dataset):
    def __init__(self, rows, image=Image.fromarray, target=torch.tensor):
        self.rows, self.image, self.target = list(rows), image, target

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return self.image(PIXELS[row]), self.target(VALUES[row].astype(int))


@pytest.mark.parametrize(
    ("image", "target"),
    [
        (Image.fromarray, torch.tensor),
        (lambda pixels: pixels, lambda row: row.tolist()),
        (lambda pixels: torch.tensor(pixels).permute(2, 0, 1), lambda row: row.astype(bool)),
    ],
)
def test_datasets_of_torch_become_splits(image, target):
    train, test = Torch(range(20), image, target), Torch(range(30, COUNT), image, target)
    splits = from_torch(train, Torch(range(20, 30), image, target), test, CLASSES)
    rows = check(splits)
    assert rows == {"train": [*range(20)], "val": [*range(20, 30)], "test": [*range(30, COUNT)]}
    plain = from_torch(Torch(range(20)), Torch(range(20, 30)), Torch(range(30, COUNT)), CLASSES)
    assert plain.fingerprint == splits.fingerprint
    held = from_torch(train, None, test, CLASSES)
    assert len(held.val) == 4 and sorted(check(held)["train"] + check(held)["val"]) == [*range(20)]


def test_labels_of_torch_may_be_unknown():
    def target(row):
        return torch.where(torch.tensor(row) > 0, 1.0, torch.nan)

    parts = [Torch(rows, target=target) for rows in (range(20), range(20, 30), range(30, COUNT))]
    splits = from_torch(*parts, CLASSES, encoding="nan")
    assert splits.train.positive_only and (splits.train.labels == VALUES[:20]).all()
    with pytest.raises(
        LabelAttackError, match="got nan at item 0 of train, class . .*fit encoding 'nan'"
    ):
        from_torch(*parts, CLASSES)


def test_what_is_no_image_or_row_is_refused():
    good = Torch(range(10))
    for bad, message in [
        (Torch(range(3), image=lambda p: torch.rand(3, 8, 8)), "item 0 of val must have an image in uint8.*float32"),
        (Torch(range(3), image=lambda p: p.astype(float)), "got float64"),
        (Torch(range(3), target=lambda row: 2), "item 0 of val must have a number for each of the 3 classes, got 2"),
        (Torch(range(3), target=lambda row: row[:2].tolist()), "3 classes, got"),
        (Torch(range(3), image=lambda p: np.random.default_rng().integers(0, 9, p.shape, np.uint8)), "leave out random transforms"),
        (Torch([0, 99]), "item 1 of val must be an image and its labels: IndexError"),
        (iter([]), "val must be a dataset with a length"),
    ]:  # fmt: skip
        with pytest.raises(DatasetError, match=message):
            from_torch(good, bad, good, CLASSES)


def test_a_dataset_of_torch_is_benchmarked(tmp_path, forgotten):
    from dataclasses import dataclass

    from labelattack.datasets.base import Dataset

    @datasets.register("my-torch")
    @dataclass(frozen=True, kw_only=True)
    class MyTorch(Dataset):
        """Mine."""

        def load(self):
            train, test = Torch(range(30)), Torch(range(30, COUNT))
            return from_torch(train, None, test, CLASSES)

    results = labelattack.bench(
        datasets=["my-torch"], model="tiny", protocol="linear", attacks=["targeted:rate=0.4"],
        defenses=["an"], seeds=1, epochs=1, d_score="none", out=tmp_path / "results", jobs=1,
        device="cpu", progress=False,
    )  # fmt: skip
    assert len(results.records) >= 2 and not results.failed
