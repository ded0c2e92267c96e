"""The dataset of a user's own files: splits, groups, folders of images, hidden labels, names."""

import numpy as np
import pytest
from PIL import Image

import labelattack
from labelattack import datasets
from labelattack.datasets.base import Split
from labelattack.datasets.division import drawn
from labelattack.datasets.images import ArrayImages
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.seeding import permutation

COUNT = 60
IDS = [f"{n:02d}.png" for n in range(COUNT)]
VALUES = np.random.default_rng(0).random((COUNT, 3)) < 0.4
CLASSES = ("cat", "dog", "red fox")


@pytest.fixture
def folder(tmp_path):
    """A wide CSV with a patient for every three images, and the images as an array."""
    pixels = np.zeros((COUNT, 12, 12, 3), np.uint8)
    pixels[:, :4, :, 0], pixels[:, 4:8, :, 1] = (
        250 * VALUES[:, :1, None],
        250 * VALUES[:, 1:2, None],
    )
    np.save(tmp_path / "x.npy", pixels)
    rows = [
        f"{i},p{n // 3}," + ",".join(map(str, VALUES[n].astype(int))) for n, i in enumerate(IDS)
    ]
    (tmp_path / "y.csv").write_text("\n".join(["image_id,patient,cat,dog,red fox", *rows]))
    return tmp_path


@pytest.fixture
def load(folder):
    """Loads the table with further parameters; ``@`` stands for its folder."""

    def loaded(more="", labels="y.csv", images="x.npy"):
        parts = [f"labels=@/{labels}", f"images={';'.join(f'@/{i}' for i in images.split(';'))}"]
        spec = f"table:{','.join([*parts, more] if more else parts)}"
        return datasets.create(spec.replace("@", str(folder))).load()

    return loaded


@pytest.fixture
def refused_as(load):
    def check(message, more="", **files):
        with pytest.raises(LabelAttackError, match=message) as said:
            load(more, **files)
        assert "\n" not in str(said.value)

    return check


def write_splits(folder, give, columns="image_id,split"):
    lines = [f"{i},{give(n)}" for n, i in enumerate(IDS)]
    (folder / "s.csv").write_text("\n".join([columns, *lines]))


# --- drawn splits


def test_the_plain_draw_stays_as_it_was(load):
    order = permutation(COUNT, 3, "table-splits")
    splits = load("ignore=patient,split_seed=3")
    for part, rows in (("test", order[:15]), ("val", order[15:24]), ("train", order[24:])):
        assert splits.parts[part].ids == [IDS[row] for row in sorted(rows)], part
    assert splits.train.groups is None


@pytest.mark.parametrize("more", ["", ",stratify=true"])
def test_a_drawn_split_divides_no_group(load, more):
    splits = load(f"holdout_by=patient{more}")
    seen = [set(part.groups) for part in splits.parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20
    sizes = [len(part) for part in splits.parts.values()]
    assert sizes == ([36, 9, 15] if not more else pytest.approx([36, 9, 15], abs=3))
    assert splits.train.ids != load(f"holdout_by=patient,split_seed=1{more}").train.ids
    assert splits.fingerprint == load(f"holdout_by=patient{more}").fingerprint


def test_a_stratified_draw_shares_rare_classes():
    rng = np.random.default_rng(0)
    labels = rng.random((400, 12)) < 0.02
    labels[:, 0] = rng.random(400) < 0.5
    split = Split(
        ArrayImages(np.zeros((400, 2, 2), np.uint8)), labels, [str(n) for n in range(400)]
    )
    for seed in range(5):
        rows = drawn(split, 0.15, 0.25, seed, "x", stratify=True)
        assert sorted(np.concatenate(rows).tolist()) == list(range(400))
        assert all(labels[part].any(axis=0).all() for part in rows)
        wanted = np.outer((0.6, 0.15, 0.25), labels.sum(axis=0))
        assert (np.abs([labels[part].sum(axis=0) for part in rows] - wanted) <= 2.5).all()


def test_shares_leave_something_to_train_on(refused_as):
    refused_as(r"val \+ test must be below 1, got 1.2", "ignore=patient,val=0.6,test=0.6")
    refused_as(
        "val must have at least one of the 60 images.*none by the draw", "ignore=patient,val=0.001"
    )


# --- given splits


def test_given_splits_may_be_of_any_kind(load, folder):
    write_splits(folder, lambda n: ("train", "val", "test")[n // 3 % 3])
    expected = load("holdout_by=patient,splits=@/s.csv")
    lines = (folder / "s.csv").read_text().splitlines()[1:]
    pairs = [line.split(",") for line in lines]
    (folder / "s.jsonl").write_text(
        "\n".join(f'{{"split": "{s}", "image_id": "{i}"}}' for i, s in pairs)
    )
    assert load("holdout_by=patient,splits=@/s.jsonl").fingerprint == expected.fingerprint
    assert expected.val.ids == [i for n, i in enumerate(IDS) if n // 3 % 3 == 1]


def test_a_given_split_that_divides_a_group_is_refused(refused_as, folder):
    write_splits(folder, lambda n: ("train", "val", "test")[n % 3])
    refused_as(
        "split file '.*s.csv' must keep the images of a group in one split, got '00.png' in train "
        "and '01.png' in val of group 'p0' .20 such groups",
        "holdout_by=patient,splits=@/s.csv",
    )


def test_groups_may_be_in_the_split_file(load, refused_as, folder):
    write_splits(
        folder,
        lambda n: f"{('train', 'val', 'test')[n // 6 % 3]},site{n // 6}",
        "image_id,split,site",
    )
    more = "ignore=patient,holdout_by=site,splits=@/s.csv"
    assert load(more).train.groups[:7] == ["site0"] * 6 + ["site3"]
    names = {"image_id": np.array(IDS), "classes": np.array(CLASSES)}
    np.savez(folder / "y.npz", labels=VALUES, **names)
    groups = load("holdout_by=site,splits=@/s.csv", labels="y.npz").test.groups
    assert set(groups) == {"site2", "site5", "site8"}
    write_splits(folder, lambda n: f"train,{'' if n in (4, 7) else 'a'}", "image_id,split,site")
    refused_as("every image a group, got none for '04.png' .2 such., line 6", more)


def test_what_is_wrong_with_splits_is_said(refused_as, folder):
    write_splits(folder, lambda n: "train")
    refused_as("val must have at least one of the 60 images .*none by split file",
               "ignore=patient,splits=@/s.csv")  # fmt: skip
    refused_as("stratify is for drawn splits", "ignore=patient,splits=@/s.csv,stratify=true")
    refused_as("holdout_by must name a column of '.*y.csv' or '.*s.csv', got 'patent'; did you mean "
               "'patient'", "ignore=patient,splits=@/s.csv,holdout_by=patent")  # fmt: skip
    (folder / "s.csv").write_text("image_id,split\n00.png,train\n00.png,test\n")
    refused_as("an image must occur once, got '00.png' at line 2 and '00.png' at line 3 .1 such",
               "ignore=patient,splits=@/s.csv")  # fmt: skip
    (folder / "s.csv").write_text("image_id,split\n00.png,train\n01.png,test\n")
    refused_as("train, val or test for every image, got nothing for '02.png' .58 such",
               "ignore=patient,splits=@/s.csv")  # fmt: skip
    refused_as("split file '.*none.csv' must have the columns", "ignore=patient,splits=@/none.csv")
    refused_as("holdout_by must name a column of '.*y.csv', got 'x'", "ignore=patient,holdout_by=x")


def test_a_column_that_is_no_class_is_refused(refused_as):
    refused_as("got 'p0' at line 2, column 'patient' .60 such cells")


# --- folders of images


@pytest.fixture
def photos(folder):
    for n, name in enumerate(IDS):
        place = folder / ("one" if n % 2 else "two")
        place.mkdir(exist_ok=True)
        Image.fromarray(np.full((5, 6, 3), n, np.uint8)).save(place / name)
    return folder


def test_images_may_be_in_several_folders(load, photos):
    splits = load("ignore=patient", images="one;two")
    for part in splits.parts.values():
        for row, name in enumerate(part.ids):
            assert part.images[row].max() == int(name[:2])
    swapped = load("ignore=patient", images="two;one")
    assert swapped.fingerprint == splits.fingerprint


def test_an_image_in_no_folder_or_in_two_is_refused(refused_as, photos):
    (photos / "one" / "00.png").write_bytes(b"")
    (photos / "one" / "02.png").write_bytes(b"")
    refused_as("must be in one folder, got '.*one/00.png' and '.*two/00.png' .2 such",
               "ignore=patient", images="one;two")  # fmt: skip
    (photos / "two" / "04.png").unlink()
    refused_as("1 of 60 images of '.*y.csv' are not there, the first '04.png' in none",
               "ignore=patient", images="one;two")  # fmt: skip
    refused_as("images must be a folder or an .npy file, got '.*three'",
               "ignore=patient", images="one;three")  # fmt: skip


def test_no_name_leads_out_of_the_folders(refused_as, photos):
    text = (photos / "y.csv").read_text()
    (photos / "y.csv").write_text(text.replace("03.png", "../one/03.png"))
    for images in ("one;two", "one"):
        refused_as(
            "names must stay inside '.*', got '../one/03.png'", "ignore=patient", images=images
        )


def test_a_class_file_is_checked(refused_as, load, folder):
    refused_as("class file '.*none.txt' must have a name a line", "classes=@/none.txt")
    for content, message in [
        (
            "cat\n\ncat\n",
            "class file '.*': a class must occur once, got 'cat' at line 1 and 'cat' at line 3",
        ),
        ("", "a class must be named, got none"),
        ("cat\ndog\nred foks\n", "every class of the labels, got none for 'red foks' .1 such"),
    ]:
        (folder / "c.txt").write_text(content)
        refused_as(message, "ignore=patient,classes=@/c.txt")
    (folder / "c.txt").write_text("red fox\r\ndog\r\ncat\r\n")
    assert load("ignore=patient,classes=@/c.txt").classes == ["red fox", "dog", "cat"]


# --- labels that are partly known


def test_unknown_labels_are_unknown_in_every_split(load, folder):
    known = np.random.default_rng(1).random(VALUES.shape) < 0.6
    (folder / "m.csv").write_text(
        "\n".join(["image_id,red fox,cat,dog", *(
            f"{IDS[n]}," + ",".join(map(str, known[n, [2, 0, 1]].astype(int)))
            for n in reversed(range(COUNT))
        )])
    )  # fmt: skip
    splits = load("ignore=patient,mask=@/m.csv")
    for part in splits.parts.values():
        rows = [int(name[:2]) for name in part.ids]
        assert (part.known == known[rows]).all() and (part.labels == (VALUES & known)[rows]).all()
    lines = [",".join([IDS[n], *("" if not k else str(int(v)) for v, k in zip(VALUES[n], known[n], strict=True))])
             for n in range(COUNT)]  # fmt: skip
    (folder / "nan.csv").write_text("\n".join(["image_id,cat,dog,red fox", *lines]))
    assert load("encoding=nan", labels="nan.csv").fingerprint == splits.fingerprint
    np.save(folder / "m.npy", known[:50].astype(int))
    with pytest.raises(LabelAttackError, match=r"mask '.*m.npy' must have the shape of the labels"):
        load("ignore=patient,mask=@/m.npy")


def test_what_an_attack_leaves_is_read_back(folder, command, load, refused, tmp_path):
    lines = [line.split(",") for line in (folder / "y.csv").read_text().splitlines()]
    clean = "\n".join(",".join([line[0], *line[2:]]) for line in lines)
    (folder / "clean.csv").write_text(clean)
    said = command("attack", "clean.csv", "--attack", "random:rate=0.4", "--out", "left.csv")
    assert "known before" not in said
    splits = load("encoding=missing", labels="left.csv")
    unknown = sum(int((~part.known).sum()) for part in splits.parts.values())
    assert unknown == round(0.4 * VALUES.size)
    said = refused("attack", "left.csv", "--out", "again.npz", cwd=tmp_path)
    assert "as encoding 'missing' they are read" in said
    more = ("--labels-encoding", "missing", "--attack", "random:rate=0.5")
    said = command("attack", "left.csv", *more, "--out", "again.npz")
    known = VALUES.size - unknown
    assert f"{known} of {VALUES.size} (60.00 %)" in said
    assert f"{round(known / 2)} of {known} (50.00 %)" in said
    again = load("encoding=missing", labels="again.npz")
    left = [part.known for part in again.parts.values()]
    assert sum(int(part.sum()) for part in left) == known - round(known / 2)
    for now, before in zip(left, splits.parts.values(), strict=True):
        assert not (now & ~before.known).any()


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".npy"])
def test_a_benchmark_runs_on_what_an_attack_leaves(folder, command, suffix):
    lines = [line.split(",") for line in (folder / "y.csv").read_text().splitlines()]
    (folder / "y.csv").write_text("\n".join(",".join([line[0], *line[2:]]) for line in lines))
    command("attack", "y.csv", "--attack", "targeted:rate=0.4", "--out", f"part{suffix}")
    spec = f"table:labels=part{suffix},encoding=missing,images=x.npy,name=My data"
    said = command(
        "bench", "--dataset", spec, "--model", "tiny", "--protocol", "linear", "--epochs", 1,
        "--seeds", 1, "--defense", "an", "--d-score", "none", "--jobs", 1, "--device", "cpu",
    )  # fmt: skip
    assert "of the training labels are known to begin with" in said
    records = labelattack.open(folder / "results").records
    scores = [record.test.map for record in records if record.test is not None]
    assert len(scores) == len(records) >= 2 and all(0 < score <= 1 for score in scores)


# --- names


def test_a_data_set_may_have_a_name(folder):
    spec = f"table:labels={folder}/y.csv,images={folder}/x.npy,name="
    resolved = dict(datasets.registry.resolve(spec + "Ward 3").params)
    assert resolved["name"] == "Ward 3"
    for name in ("a/b", "a\\b", "x" * 41, "a\tb", "voc:year", "a|b"):
        with pytest.raises(ParameterError, match="name.*at most 40 printable characters"):
            datasets.registry.resolve(spec + name)
    with pytest.raises(ParameterError, match="must not be that of a registered dataset, got 'voc'"):
        datasets.registry.resolve(spec + "voc")


def test_labels_of_a_known_few_are_not_made_dense():
    labels = PartialLabels.from_entries(
        (10_000, 600), np.arange(10_000), np.arange(10_000) % 600, np.ones(10_000, bool)
    )
    names = [str(n) for n in range(10_000)]
    split = Split(ArrayImages(np.zeros((10_000, 2, 2), np.uint8)), labels, names)
    rows = drawn(split, 0.15, 0.25, 0, "x", stratify=True)
    assert [len(part) for part in rows] == pytest.approx([6000, 1500, 2500], abs=400)


def test_boards_reports_and_cards_show_a_name_and_no_paths(folder, command):
    spec = "table:labels=y.csv,images=x.npy,ignore=patient,name=my birds"
    bench = (
        "bench", "--dataset", spec, "--model", "tiny", "--protocol", "linear", "--epochs", "1",
        "--lr", "0.01", "--seeds", "1", "--attack", "targeted:rate=0.5", "--defense", "an", "--jobs", "1",
    )  # fmt: skip
    shown = command(*bench)
    fingerprint = datasets.create(spec).load().fingerprint
    assert f"my birds ({fingerprint})" in shown and str(folder) not in shown
    command("report", "results", "--out", "report.html")
    command("cards", "results", "--out", "cards")
    texts = [p.read_text("utf-8") for p in (folder / "report.html", *(folder / "cards").glob("*"))]
    assert len(texts) == 3
    for text in (
        *texts,
        *(command("show", "results", "--format", f) for f in ("json", "csv", "markdown")),
    ):
        assert "my birds" in text and str(folder) not in text
