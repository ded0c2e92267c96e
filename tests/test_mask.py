"""Published masks, in the forms in which they are published."""

import json

import numpy as np
import pytest
from PIL import Image

from labelattack import attacks
from labelattack.attacks.manifest import manifest
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import LabelError, ParameterError
from labelattack.labels import LabelTable, PartialLabels, write_labels
from labelattack.testing import attack_checks
from tests.conftest import exit_code

CLASSES = ["cat", "dog", "cow", "hen"]


@pytest.fixture
def labels():
    values = np.random.default_rng(0).random((12, 4)) < 0.5
    values[:, 0] |= ~values.any(axis=1)
    return PartialLabels.full(values).named(
        [f"train2014/{7 * row + 3}" for row in range(12)], CLASSES
    )


def kept(labels):
    """What is kept of the labels: two entries in three."""
    return PartialLabels(labels.values, np.random.default_rng(1).random(labels.shape) < 0.67)


def official(labels, order):
    return [f"COCO_train2014_{int(labels.ids[row].split('/')[1]):012d}.jpg" for row in order]


def attack(file, encoding, **more):
    given = ",".join(f"{key}={value}" for key, value in more.items())
    return attacks.create(f"mask:file={file},encoding={encoding}" + f",{given}" * bool(given))


ORDER = np.array([5, 0, 11, 2, 1, 4, 3, 10, 9, 8, 7, 6])
CODES = {"signed": (1, -1, 0), "missing": (1, 0, -1), "nan": (1, 0, np.nan)}


@pytest.mark.parametrize("encoding", CODES)
def test_a_matrix_of_observed_labels_with_names_apart(labels, tmp_path, encoding):
    """As Cole et al. write them: -1, 0 and 1, rows by image id sorted as text, names in a file."""
    positive, negative, hidden = CODES[encoding]
    mask = kept(labels)
    matrix = np.where(mask.values, positive, np.where(mask.observed, negative, hidden))
    np.save(tmp_path / "obs.npy", matrix[ORDER].astype(np.float64))
    np.save(tmp_path / "names.npy", np.array([f"train2014/{n}" for n in official(labels, ORDER)]))
    found = attack(tmp_path / "obs.npy", encoding, images=tmp_path / "names.npy")(labels, seed=3)
    assert found == mask
    (tmp_path / "names.txt").write_text("\n".join(official(labels, ORDER)) + "\n", encoding="utf-8")
    found = attack(tmp_path / "obs.npy", encoding, images=tmp_path / "names.txt")(labels, seed=0)
    assert found == mask


def test_a_list_of_kept_positives(labels, tmp_path):
    """As Zhang et al. write them: ``image,class class ...``; more images than are asked for."""
    mask = kept(labels)
    lines = [
        f"{name}," + " ".join(str(c) for c in np.flatnonzero(mask.values[row]))
        for name, row in zip(official(labels, ORDER), ORDER, strict=True)
    ]
    (tmp_path / "left.txt").write_text("\n".join(lines), encoding="utf-8")
    some = PartialLabels.full(labels.values[:5]).named(labels.ids[:5], CLASSES)
    found = attack(tmp_path / "left.txt", "positives")(some, seed=0)
    assert np.array_equal(found.values, mask.values[:5]) and found.negatives.sum() == 0
    with pytest.raises(LabelError, match="a .txt lists positives .* got encoding 'signed'"):
        attack(tmp_path / "left.txt", "signed")(some, seed=0)


def test_a_plain_mask_follows_the_rows_or_the_names(labels, tmp_path):
    mask = kept(labels)
    np.save(tmp_path / "known.npy", mask.observed.astype(np.uint8))
    assert attack(tmp_path / "known.npy", "mask")(labels, seed=0) == mask
    columns = [2, 0, 3, 1]
    np.savez(
        tmp_path / "known.npz", labels=mask.observed[ORDER][:, columns].astype(int),
        image_id=np.array(official(labels, ORDER)), classes=np.array(CLASSES)[columns],
    )  # fmt: skip
    assert attack(tmp_path / "known.npz", "mask")(labels, seed=0) == mask
    with pytest.raises(LabelError, match="a row for each of the 5 images, got 12; name its rows"):
        attack(tmp_path / "known.npy", "mask")(labels.take(slice(5)), seed=0)


def test_what_is_unknown_to_begin_with_stays_so(labels, tmp_path):
    before, mask = PartialLabels(labels.values, np.arange(48).reshape(12, 4) % 5 > 0), kept(labels)
    np.save(tmp_path / "known.npy", mask.observed.astype(np.uint8))
    found = attack(tmp_path / "known.npy", "mask")(before, seed=0)
    assert np.array_equal(found.observed, before.observed & mask.observed)


def test_a_file_that_an_attack_wrote_is_its_mask(labels, tmp_path):
    left = attacks.create("random:rate=0.4")(labels, seed=5)
    for suffix in ("csv", "npz"):
        path = tmp_path / f"part.{suffix}"
        write_labels(path, LabelTable(left, list(labels.ids), CLASSES), "missing")
        assert attack(path, "missing")(labels, seed=0) == left


def broken(labels, tmp_path, change):
    """A mask file with something wrong, and how it is read."""
    mask = kept(labels)
    matrix = np.where(mask.values, 1, np.where(mask.observed, -1, 0))
    names = official(labels, range(12))
    more = {"images": tmp_path / "names.txt"}
    if change == "classes in another order":
        matrix = matrix[:, ::-1]
    elif change == "an image is absent":
        matrix, names = matrix[1:], names[1:]
    elif change == "an image twice":
        names[3] = names[2]
    elif change == "too few names":
        names = names[1:]
    elif change == "too many classes":
        matrix = np.hstack([matrix, matrix[:, :1]])
    elif change == "another encoding":
        matrix = np.where(matrix == 0, 7, matrix)
    np.save(tmp_path / "obs.npy", matrix)
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    return attack(tmp_path / "obs.npy", "signed", **more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("classes in another order", "got '(cat|hen)' (positive|negative) on 'train2014/3' where it is .* such"),
        ("an image is absent", r"every image, got none for 'train2014/3' \(1 such\)"),
        ("an image twice", "an image must occur once, got 'COCO_train2014_000000000017.jpg' at row 2"),
        ("too few names", "must have 12 names of its rows, got 11"),
        ("too many classes", "must have 4 classes, got 5"),
        ("another encoding", "one of 1, -1, 0, got 7 at row"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused(labels, tmp_path, change, message):
    with pytest.raises(LabelError, match=f"mask file .*obs.npy'.*{message}"):
        broken(labels, tmp_path, change)(labels, seed=0)


def test_bad_files_are_refused(labels, tmp_path):
    for name, content, message in (
        ("a.txt", "x.jpg,0 9\n", "classes 0 to 3, got line 1: 'x.jpg,0 9'"),
        ("b.txt", "x.jpg 0\n", "got line 1: 'x.jpg 0'"),
        ("c.txt", "x.jpg,-1\n", "got line 1: 'x.jpg,-1'"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(LabelError, match=message):
            attack(tmp_path / name, "positives")(labels, seed=0)
    with pytest.raises(LabelError, match="mask file '.*absent.npy' cannot be read"):
        attack(tmp_path / "absent.npy", "mask")(labels, seed=0)
    with pytest.raises(ParameterError, match="needs parameter 'encoding'"):
        attacks.create(f"mask:file={tmp_path}/a.txt")
    (tmp_path / "two.txt").write_text("a_1,0\nb_1,0\n", encoding="utf-8")
    alike = PartialLabels.full(labels.values[:1]).named(["1"], CLASSES)
    with pytest.raises(LabelError, match="several that end alike"):
        attack(tmp_path / "two.txt", "positives")(alike, seed=0)


def test_a_row_with_a_published_mask(tmp_path, monkeypatch, capsys):
    """The hold-out takes its part of the mask; the record holds the hash of its content."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    values = rng.random((40, 4)) < 0.5
    for row in range(40):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{row}.png")
    ids = [f"{row}.png" for row in range(40)]
    write_labels(
        tmp_path / "labels.csv", LabelTable(PartialLabels.full(values), ids, CLASSES), "binary"
    )

    def bench(of):
        mask = np.random.default_rng(of).random(values.shape) < 0.5
        kept = PartialLabels(values, mask)
        write_labels(tmp_path / "mask.npz", LabelTable(kept, ids, CLASSES), "missing")
        code = exit_code(
            monkeypatch, tmp_path,
            ["bench", "--dataset", "table:labels=labels.csv,images=images", "--attack",
             "mask:file=mask.npz,encoding=missing", "--defense", "iu", "--model", "tiny",
             "--protocol", "linear", "--epochs", "1", "--lr", "0.01", "--seeds", "1",
             "--no-reference", "--jobs", "1", "--json"],
        )  # fmt: skip
        assert code == 0, capsys.readouterr().err

    bench(1)
    bench(2)
    records = list(RecordStore(tmp_path / "results"))
    assert len({record.key for record in records}) == 2
    assert len({record.cell.versions["attack"] for record in records}) == 2
    assert len({record.removal.attacked_labels for record in records}) == 2
    assert "mask" in json.dumps([record.cell.attack for record in records])


def test_it_keeps_the_contract_of_attacks(tmp_path):
    """But that of taking labels of any shape."""
    np.save(tmp_path / "known.npy", (np.arange(280).reshape(40, 7) % 3 > 0).astype(np.int8))
    for check in attack_checks(f"mask:file={tmp_path}/known.npy,encoding=mask"):
        if "edge cases" not in str(check):
            check()


def test_manifests_take_it(labels, tmp_path):
    mask = kept(labels)
    np.save(tmp_path / "known.npy", mask.observed.astype(np.uint8))
    chosen = attack(tmp_path / "known.npy", "mask")
    found = manifest(chosen, "mask", 0, labels, chosen(labels, seed=0))
    assert found.realised_rate == found.q_hat == pytest.approx(1 - mask.observed.mean())
