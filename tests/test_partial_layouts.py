"""LVIS, Open Images and Visual Genome: layouts, defects of the released files, and refusals."""

import json
import tracemalloc

import numpy as np
import pytest

from labelattack import datasets
from labelattack.datasets import lvis as lvis_file
from labelattack.datasets import verified_labels as verified_file
from labelattack.datasets.verified_labels import verified_labels
from labelattack.errors import DatasetError
from labelattack.testing import dataset_checks
from tests.official_objects import (
    LVIS_CATEGORIES,
    NO_LABEL,
    OPEN_IMAGES,
    make_lvis,
    make_open_images,
    make_visual_genome,
)

SPECS = {
    "lvis": make_lvis,
    "openimages": make_open_images,
    "openimages:release=v4": lambda root: make_open_images(root, "v4", lists=True),
    "visual-genome": make_visual_genome,
    "visual-genome:classes=200": lambda root: make_visual_genome(root, 200),
}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture(params=SPECS)
def spec(request, root):
    """A dataset with its miniature."""
    SPECS[request.param](root)
    return with_root(request.param, root)


def with_root(name, root):
    return f"{name}{',' if ':' in name else ':'}root={root}"


def load(name, root):
    return datasets.create(with_root(name, root)).load()


def known_of(split, classes):
    """Value of each known entry, by image and class."""
    return {
        name: {classes[c]: bool(values[c]) for c in np.flatnonzero(observed)}
        for name, values, observed in zip(
            split.ids, split.partial.values, split.partial.observed, strict=True
        )
    }


def change(path, damage):
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))


# --- all of them


def test_contracts(spec):
    for check in dataset_checks(spec):
        check()


@pytest.mark.parametrize("name", SPECS)
def test_an_absent_dataset_says_what_to_place_where(root, name):
    with pytest.raises(DatasetError, match="is not there; it is never downloaded: place .* under"):
        load(name, root)
    findings = datasets.create(with_root(name, root)).examine()
    assert findings and not any(finding.fine for finding in findings)


def test_missing_images_are_refused_or_left_out(spec, root):
    gone = max(p for p in root.rglob("*.jpg") if p.stem not in ("1592", "1722"))
    gone.unlink()
    with pytest.raises(DatasetError, match=f"may miss 1.0% of its images.*{gone.name}"):
        datasets.create(spec).load()
    sign = ",tolerance=0.5"
    notes = datasets.create(spec + sign).load().warnings
    assert any("1 of" in n and "are missing and left out" in n for n in notes)
    findings = datasets.create(spec).examine()
    assert any(f"missing {gone.stem}" in f.found or gone.name in f.found for f in findings)


CARDS = {
    "lvis": ["1,203", "train: 100,170 val: 19,809", "coco/val2017/*.jpg", "lvis/lvis_v1_val.json"],
    "openimages": ["not stated", "oidv6-classes-trainable.txt", "validation: 41,620 test: 125,436"],
    "openimages:release=v4": ["7,186", "v4/classes-trainable.txt", "4,728"],
    "visual-genome": ["500", "train: 82,904 test: 10,000", "98,249", "called by their index"],
    "visual-genome:classes=200": ["200", "VG/vg_category_200_labels_index.json"],
}


@pytest.mark.parametrize("name", SPECS)
def test_cards_state_what_is_published(told, name):
    code, out, _ = told("data", "card", name)
    assert code == 0
    for fact in CARDS[name]:
        assert fact in out
    code, out, _ = told("data", "card", name, "--json")
    assert code == 0 and json.loads(out)["positives_per_image"] is None


def test_a_copy_is_checked_against_the_card(told, spec):
    code, out, _ = told("data", "check", spec, "--json")
    found = {finding["what"]: finding for finding in json.loads(out)}
    wrong = {what for what, finding in found.items() if not finding["fine"]}
    published = datasets.create(spec).card().images
    if spec.startswith("openimages") and "v4" not in spec:
        published = {}  # without lists of images, nothing says how many there are
    assert wrong == {f"{name}: images listed" for name in published}
    assert code == (1 if published else 0)
    for name, count in published.items():
        assert found[f"{name}: images listed"]["expected"] == f"{count:,}"
    decoded = [f for what, f in found.items() if what.endswith("that can be read")]
    assert len(decoded) == 3 and all(finding["fine"] for finding in decoded)


BENCH = ("--model", "tiny", "--epochs", "1", "--seeds", "1", "--jobs", "1", "--d-score", "none",
         "--attack", "random:rate=0.2", "--defense", "an", "--no-reference")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "remarks"),
    [
        ("lvis", ("45 % of the training labels are known", "the 50 % of the test labels that are")),
        ("openimages", ("50 % of the training labels", "the 50 % of the test labels that are")),
        ("visual-genome:classes=200", ()),
    ],
)
def test_a_board_says_what_share_was_known(told, root, name, remarks):
    SPECS[name](root)
    code, out, err = told("bench", "--dataset", with_root(name, root), *BENCH)
    assert code == 0 and "computed 1 of 1 cells" in err
    for remark in remarks:
        assert remark in out
    assert ("known to begin with" in out) == bool(remarks)


# --- LVIS


def test_lvis_knows_what_is_annotated_or_listed_as_absent(root):
    truth = make_lvis(root)
    splits = load("lvis", root)
    assert list(splits.classes) == list(LVIS_CATEGORIES.values())
    assert [len(part) for part in splits.parts.values()] == [10, 2, 8]
    known = {}
    for part in splits.parts.values():
        known |= known_of(part, splits.classes)
    assert known == truth
    assert {name.split("/")[0] for name in splits.train.ids} == {"train2017", "val2017"}
    assert {name.split("/")[0] for name in splits.test.ids} == {"train2017", "val2017"}
    assert splits.train.images[0].shape == (24, 40, 3)
    assert "lvis: no label is known of 1 of the 12 images of train" in splits.warnings
    assert splits.expected_positives is None
    assert load("lvis:expected_positives=2.5", root).expected_positives == 2.5


def test_lvis_counts_a_category_that_is_not_exhaustively_marked(root):
    make_lvis(root)
    before = load("lvis", root)
    for split in ("train", "val"):
        path = root / "lvis" / f"lvis_v1_{split}.json"
        change(path, lambda c: [i.update(not_exhaustive_category_ids=[]) for i in c["images"]])
    assert load("lvis", root).fingerprint == before.fingerprint


def test_lvis_can_share_rare_categories(root):
    make_lvis(root, train=16)
    drawn, shared = load("lvis", root), load("lvis:stratify=true,holdout=0.25", root)
    assert (shared.val.partial.values.sum(axis=0) >= 1).all()
    assert shared.fingerprint != drawn.fingerprint


def test_lvis_parses_once_and_again_if_the_cache_is_damaged(root, monkeypatch, tmp_path):
    make_lvis(root)
    first = load("lvis", root).fingerprint
    with monkeypatch.context() as patched:
        patched.setattr(lvis_file, "_parsed", lambda path: pytest.fail("parsed again"))
        assert load("lvis", root).fingerprint == first
    kept = list((tmp_path / "cache" / "labels").glob("lvis-*.npz"))
    assert len(kept) == 2
    content = dict(np.load(kept[0]))
    np.savez_compressed(kept[0], **(content | {"columns": content["columns"][:-1]}))
    kept[1].write_bytes(b"PK")
    assert load("lvis", root).fingerprint == first


def annotated(content, number):
    """The category that is annotated on an image, by the image's place in the file."""
    image = content["images"][number]["id"]
    return next(a["category_id"] for a in content["annotations"] if a["image_id"] == image)


LVIS_FAULTS = [
    (lambda c: c["images"][2]["neg_category_ids"].append(annotated(c, 2)), r"images\[2\] has category 'airplane' in its 'neg_category_ids' and in an annotation \(1 such"),
    (lambda c: c["images"][2].update(neg_category_ids=[99, 98]), r"images\[2\] lists category 99, which is not there, as absent \(2 such"),
    (lambda c: c["images"][2].pop("neg_category_ids"), r"images\[2\] must have a list as 'neg_category_ids', got None"),
    (lambda c: c["images"][2].update(neg_category_ids=["x"]), r"images\[2\] must have a whole number as 'neg_category_ids', got 'x'"),
    (lambda c: c["images"][2].pop("coco_url"), r"images\[2\] must have a text as 'coco_url', got ''"),
    (lambda c: c["images"][2].update(coco_url="http://x/test2017/1.jpg"), r"'coco_url' of images\[2\] must end in train2017/FILE or val2017/FILE, got 'http://x/test2017/1.jpg'"),
    (lambda c: c["images"][2].update(coco_url="http://y/" + "/".join(c["images"][1]["coco_url"].split("/")[-2:])), r"a file of 'coco_url' must occur once, .* at images\[1\] and .* at images\[2\] \(1 such"),
    (lambda c: c["annotations"][3].update(image_id=7), r"annotations\[3\] is of image 7, which is not there \(1 such"),
    (lambda c: c["annotations"][3].update(category_id=9), r"annotations\[3\] is of category 9, which is not there"),
    (lambda c: c["categories"].append({"id": 50, "name": "airplane"}), r"'name' of 'categories' must occur once, got 'airplane' at categories\[2\] and .*categories\[4\]"),
    (lambda c: c["images"][2].update(id=c["images"][1]["id"]), r"'id' of 'images' must occur once"),
    (lambda c: c.pop("annotations"), r"has no annotations; what is needed is an lvis_v1_train.json .*image_info"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), LVIS_FAULTS)
def test_lvis_names_file_entry_and_value(root, damage, message):
    make_lvis(root)
    change(root / "lvis" / "lvis_v1_train.json", damage)
    with pytest.raises(DatasetError, match=f"lvis_v1_train.json'.*{message}"):
        load("lvis", root)


def test_lvis_needs_the_same_categories_in_both_files(root):
    make_lvis(root)
    change(root / "lvis" / "lvis_v1_val.json", lambda c: c["categories"][0].update(name="kite"))
    with pytest.raises(DatasetError, match="must have the same categories, got 4 and 4, with 'aer"):
        load("lvis", root)


def test_lvis_refuses_an_image_of_both_lists(root):
    make_lvis(root)
    url = json.loads((root / "lvis" / "lvis_v1_train.json").read_text())["images"][0]["coco_url"]
    path = root / "lvis" / "lvis_v1_val.json"
    change(path, lambda c: c["images"][0].update(coco_url=url))
    with pytest.raises(DatasetError, match="an image of a dataset must occur once, got 'train2017"):
        load("lvis", root)


# --- Open Images


@pytest.mark.parametrize("release", ["v4", "v6"])
@pytest.mark.parametrize("lists", [False, True])
def test_open_images_knows_what_people_verified(root, release, lists):
    truth = make_open_images(root, release, lists=lists)
    splits = load(f"openimages:release={release}", root)
    names = ["Person", "Organ (/m/0dzct)", "Organ (/g/11x_)", "Car"]
    assert list(splits.classes) == names
    name = dict(zip(OPEN_IMAGES, names, strict=True))
    for part, of in zip(splits.parts.values(), truth, strict=True):
        assert known_of(part, names) == {
            image: {name[mid]: bool(value) for mid, value in values.items()}
            for image, values in truth[of].items()
        }
    assert (NO_LABEL in splits.val.ids) == lists
    note = "openimages: no label is known of 1 of the 9 images of validation"
    assert (note in splits.warnings) == lists
    assert any(
        "left out: 1 of train, 1 of validation, 1 of test" in note for note in splits.warnings
    )
    assert splits.test.images[0].shape == (24, 40, 3)


def test_open_images_takes_the_classes_of_a_file(root):
    make_open_images(root)
    folder = root / "openimages" / "v6"
    (folder / "mine.txt").write_text("/m/0x\n/m/01g317,Person\n/m/none\n")
    splits = load("openimages:classes=mine.txt", root)
    assert list(splits.classes) == ["Pig's, so called", "Person", "/m/none"]
    assert splits.train.partial.per_class().tolist() == [1, 14, 0]
    assert splits.train.partial.per_class(splits.train.partial.known_values).tolist() == [1, 7, 0]
    all_of_them = load("openimages:classes=oidv6-class-descriptions.csv", root)
    assert len(all_of_them.classes) == 5
    assert not any("left out: " in note for note in all_of_them.warnings)
    with pytest.raises(DatasetError, match="names must stay inside '.*v6', got '../x.txt'"):
        load("openimages:classes=../x.txt", root)
    (folder / "mine.txt").write_text("/m/0x\nPerson\n")
    with pytest.raises(DatasetError, match="ids of classes such as .*got line 2: 'Person' .1 such"):
        load("openimages:classes=mine.txt", root)
    (folder / "mine.txt").write_text("/m/0x\n/m/0y\n/m/0x\n")
    with pytest.raises(DatasetError, match="a class must occur once, got '/m/0x' at line 1 and"):
        load("openimages:classes=mine.txt", root)


def test_open_images_refuses_descriptions_of_another_kind(root):
    make_open_images(root)
    path = root / "openimages" / "v6" / "oidv6-class-descriptions.csv"
    path.write_text("LabelName,DisplayName,x\n/m/0x,a,b\n")
    with pytest.raises(DatasetError, match="must hold LabelName,DisplayName: line 1 has 3 col"):
        load("openimages", root)
    path.write_text("LabelName,DisplayName\n/m/0x,a\n/m/0x,b\n")
    with pytest.raises(DatasetError, match="a class must occur once, got '/m/0x' at line 2 and"):
        load("openimages", root)


def test_open_images_reads_lines_as_programs_rewrite_them(root):
    make_open_images(root)
    before = load("openimages", root).fingerprint
    for path in root.glob("openimages/v6/*imagelabels.csv"):
        head, *lines = path.read_text().splitlines()
        rewritten = [head, "", *(f"{line}.0 " for line in reversed(lines))]
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rewritten).encode())
    assert load("openimages", root).fingerprint == before


IMAGE, OTHER = "00000000000000aa", "00000000000000ab"
VERIFIED_FAULTS = [
    (f"{IMAGE},machine,/m/0k4j,1", f"line 3: '{IMAGE},machine,/m/0k4j,1' .Source is neither verification nor crowdsource-verification, so no human"),
    (f"{IMAGE},verification,/m/0k4j,0.7", "line 3: .*Confidence is neither 0 nor 1, so no human verified it. .1 such"),
    (f"{IMAGE},verification,/m/0k4j,-1\n{IMAGE},verification,/m/0k4j", "line 3: .*,-1' .Confidence .* .2 such"),
    (f"{IMAGE},verification,/m/0k4j", "line 3: .*3 fields for 4"),
    (f"{IMAGE},verification,,1", "line 3: .*LabelName is no id such as"),
    (f"{IMAGE},verification, /m/0k4j,1", "line 3: .*LabelName is no id such as"),
    ("00000000000000AA,verification,/m/0k4j,1", "line 3: .*ImageID is not 16 hex digits in lower case"),
    ("0000000000000_aa,verification,/m/0k4j,1", "line 3: .*ImageID is not 16 hex digits"),
    ("aa,verification,/m/0k4j,1", "line 3: .*ImageID is not 16 hex digits"),
    ("\xe4000000000000000,verification,/m/0k4j,1", r"line 3: .*\\xe4.*ImageID is not 16 hex digits"),
    (f"{OTHER},verification,/m/0dzct,0", f"one Confidence, got 0 and 1 for {OTHER} and /m/0dzct at lines 2, 3 .1 such"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), VERIFIED_FAULTS)
def test_open_images_names_file_line_and_text(root, lines, message):
    make_open_images(root)
    path = root / "openimages" / "v6" / "validation-annotations-human-imagelabels.csv"
    text = f"{verified_file._HEADER}\n{OTHER},verification,/m/0dzct,1\n{lines}\n"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=f"'{path}' must .*{message}"):
        load("openimages", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "csv' must begin with ImageID,Source,LabelName,Confidence, got '' at line 1"),
        (
            b"ImageID,LabelName,Confidence\n",
            "must begin with ImageID,Source,.*, got 'ImageID,Label",
        ),
        ("ImageID,Source".encode("utf-16"), "got UTF-16 at line 1"),
    ],
)
def test_open_images_needs_the_header(root, content, message):
    make_open_images(root)
    path = root / "openimages" / "v6" / "test-annotations-human-imagelabels.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load("openimages", root)
    path.write_text(f"{verified_file._HEADER}\n,verification,/m/0k4j,1\n")
    with pytest.raises(DatasetError, match="got line 2: ',verif.*ImageID is not 16 hex digits"):
        load("openimages", root)
    path.write_text(verified_file._HEADER + "\n")
    with pytest.raises(DatasetError, match="no image of 'test' is under .*: the list is empty"):
        load("openimages", root)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([NO_LABEL], "labels of images of '.*list.csv', got image [0-9a-f]{16} at line 2 .3 such"),
        ([IMAGE, OTHER, IMAGE], f"list an image once, got {IMAGE} at lines 2, 4 .1 such"),
        ([IMAGE, "x.jpg"], "list images, got line 3: an image id must be 16 hex .* got 'x.jpg'"),
        ([], "must list images, got none"),
        (["", '"\n' + IMAGE], "must list images, got line 4: unexpected end of data"),
        (None, "list.csv' must begin with ImageID, got '' at line 1"),
        (['"' + IMAGE + '"', IMAGE], "list an image once, got .* at lines 2, 3"),
        (['"' + IMAGE], "must list images, got line 2: unexpected end of data"),
    ],
)
def test_open_images_refuses_a_list_of_other_images(tmp_path, rows, message):
    labels, images = tmp_path / "labels.csv", tmp_path / "list.csv"
    lines = (f"{IMAGE},verification,/m/0{n},1" for n in range(3))
    labels.write_text("\n".join([verified_file._HEADER, *lines]))
    images.write_text("" if rows is None else "\n".join(["ImageID,Subset", *rows]))
    with pytest.raises(DatasetError, match=message):
        verified_labels(labels, ["/m/00"], images)


def test_open_images_parses_once_and_again_for_other_classes(root, monkeypatch, tmp_path):
    make_open_images(root)
    first = load("openimages", root).fingerprint
    with monkeypatch.context() as patched:
        patched.setattr(verified_file, "_lines", lambda *_: pytest.fail("parsed again"))
        assert load("openimages", root).fingerprint == first
    path = root / "openimages" / "v6" / "oidv6-classes-trainable.txt"
    path.write_text("LabelName\n" + "\n".join(list(OPEN_IMAGES)[:3]))
    assert load("openimages", root).train.partial.shape == (14, 3)
    for kept in (tmp_path / "cache" / "labels").iterdir():
        kept.write_bytes(kept.read_bytes()[:100])
    assert load("openimages", root).train.partial.shape == (14, 3)


def test_verified_labels_take_bytes_by_line_and_none_of_the_text(tmp_path):
    path, count = tmp_path / "labels.csv", 60_000
    with path.open("w") as file:
        file.write(verified_file._HEADER + "\n")
        file.writelines(
            f"{n // 8:016x},crowdsource-verification,/m/0{n % 8},{n % 3 // 2}\n"
            for n in range(count)
        )
    classes = [f"/m/0{n}" for n in range(8)]
    tracemalloc.start()
    found = verified_labels(path, classes, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.labels.is_complete and found.labels.shape == (count // 8, 8)
    assert found.labels.known_values.sum() == count // 3
    assert path.stat().st_size / count > 47 and peak / count < 50


# --- Visual Genome


@pytest.mark.parametrize("classes", [500, 200])
def test_visual_genome_is_complete_and_leaves_corrupt_images_out(root, classes):
    truth = make_visual_genome(root, classes)
    splits = load(f"visual-genome:classes={classes}", root)
    assert list(splits.classes) == [f"class {index}" for index in range(classes)]
    assert [len(part) for part in splits.parts.values()] == [11, 3, 8]
    for part in splits.parts.values():
        assert part.partial.is_complete
        for name, row in zip(part.ids, part.labels, strict=True):
            assert np.flatnonzero(row).tolist() == truth[name]
    listed = {name for part in splits.parts.values() for name in part.ids}
    assert not listed & {"1592.jpg", "4617.jpg", "1722.jpg"}
    note = "visual-genome: 3 corrupt images are left out: 1592.jpg, 4617.jpg, 1722.jpg"
    assert note in splits.warnings
    shared = load(f"visual-genome:classes={classes},stratify=true", root)
    assert shared.val.labels.any(axis=0).all() and not splits.val.labels.any(axis=0).all()


VG_FAULTS = [
    (lambda c: c["2315002.jpg"].append(500), r"class indices 0..499, got 500 at \[167\] of '2315002.jpg' \(1 such"),
    (lambda c: c["2315002.jpg"].insert(1, -1), r"got -1 at \[1\] of '2315002.jpg'"),
    (lambda c: c["2315002.jpg"].insert(1, True), r"got True at \[1\] of '2315002.jpg'"),
    (lambda c: c["1.jpg"].append(1.5), r"got 1.5 at \[1\] of '1.jpg'"),
    (lambda c: c.update({"2315002.jpg": 4, "2315003.jpg": "x"}), r"got 4 of '2315002.jpg' \(2 such"),
    (lambda c: [c.pop(f"231500{n}.jpg") for n in (2, 3)], r"labels of every listed image, got none of '2315002.jpg' at line 3 of train_list_500.txt \(2 such"),
    (lambda c: c.pop("2410001.jpg"), "got none of '2410001.jpg' at line 2 of test_list_500.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), VG_FAULTS)
def test_visual_genome_names_file_entry_and_value(root, damage, message):
    make_visual_genome(root)
    change(root / "VG" / "vg_category_500_labels_index.json", damage)
    with pytest.raises(DatasetError, match=f"labels_index.json' must .*{message}"):
        load("visual-genome", root)


def test_visual_genome_refuses_an_image_that_is_there_twice(root):
    make_visual_genome(root)
    path = root / "VG" / "vg_category_500_labels_index.json"
    whole = path.read_text()
    path.write_text('{"2315002.jpg": [1], ' + whole[1:])
    with pytest.raises(DatasetError, match=r"once for each image.*got '2315002.jpg' twice .1 such"):
        load("visual-genome", root)
    path.write_text(whole[:-5])
    with pytest.raises(DatasetError, match="labels_index.json' must be JSON"):
        load("visual-genome", root)
    path.write_text(whole)
    (root / "VG" / "test_list_500.txt").write_text("2410000.jpg\n2315002.jpg\n")
    with pytest.raises(
        DatasetError, match="once, got '2315002.jpg' at line 3 of train_list_500.txt and .* line 2"
    ):
        load("visual-genome", root)
