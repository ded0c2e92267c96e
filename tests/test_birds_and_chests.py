"""CUB, CheXpert, ChestX-ray14 and L48, in miniatures of their official layouts."""

import json
import re

import numpy as np
import pytest

from labelattack import datasets
from labelattack.datasets import number_lines
from labelattack.errors import DatasetError, ParameterError
from labelattack.testing import dataset_checks
from tests.official import picture
from tests.official_birds_and_chests import (
    NIH_FINDINGS,
    SPECIES,
    make_chexpert,
    make_cub,
    make_l48,
    make_nih,
)

CHOSEN = "uncertain=ignore,empty=ignore"
# Maker, parameters, a pattern of image files, and sizes of the official lists.
SETS = {
    "cub": (make_cub, "certainty=ignore", "CUB_200_2011/images/*/*.jpg", "5,994"),
    "chexpert": (make_chexpert, CHOSEN, "CheXpert-v1.0-small/*/*/*/*.jpg", "223,414"),
    "nih-chestxray14": (make_nih, "labels=v2020", "nih-chestxray14/*/*/*.png", "86,524"),
    "l48": (make_l48, "prior=geo", "ml48s/images/*/*.jpg", "85,193"),
}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture(params=SETS)
def made(request, root):
    """Name, spec, pattern of the images, and an official size, of each data set."""
    make, parameters, images, size = SETS[request.param]
    make(root)
    return request.param, f"{request.param}:root={root},{parameters}", images, size


def load(name, root, parameters=""):
    return datasets.create(f"{name}:root={root}{',' * bool(parameters)}{parameters}").load()


def edit(path, old, new, times=1):
    """Replaces a text that is there."""
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, times).encode("latin-1"))


def named(split):
    """Labels of each image of a split: 1 present, 0 absent, -1 unknown."""
    states = np.where(split.partial.observed, split.partial.values.astype(int), -1)
    return dict(zip(split.ids, states.tolist(), strict=True))


# --- shared by all


def test_contracts(made):
    for check in dataset_checks(made[1]):
        check()


def test_missing_images_are_named_and_tolerated_up_to_a_share(made, root):
    _, spec, images, _ = made
    path = sorted(root.glob(images))[-1]
    path.unlink()
    with pytest.raises(DatasetError, match=f"may miss 1.0% of its images.*{path.name}"):
        datasets.create(spec).load()
    splits = datasets.create(f"{spec},tolerance=0.5").load()
    assert any("1 of " in note and "are missing and left out" in note for note in splits.warnings)
    odd = [f for f in datasets.create(spec).examine() if not f.fine and "missing" in f.found]
    assert len(odd) == 1 and path.name in odd[0].found


@pytest.mark.parametrize("name", SETS)
def test_an_absent_dataset_says_what_to_place_where(root, name):
    parameters = SETS[name][1]
    with pytest.raises(DatasetError, match=f"dataset '{name}' needs '{root}.*never downloaded"):
        load(name, root, parameters)
    findings = datasets.create(f"{name}:root={root},{parameters}").examine()
    assert findings and not any(finding.fine for finding in findings)


def test_the_card_and_the_check_of_a_copy(made, told):
    name, spec, _, size = made
    code, out, _ = told("data", "card", name)
    assert code == 0 and size in out and "remarks" in out and "None" not in out
    code, out, err = told("data", "check", spec)
    assert code == 1 and size in out  # the miniature has fewer
    assert out.count("differs") == len(datasets.create(spec).card().images) + ("nih" in name)
    assert "test: images that can be read" in out and not err.count("error")


def test_a_board_says_what_share_is_known(made, told):
    name, spec, _, _ = made
    code, out, _ = told(
        "bench", "--dataset", spec, "--model", "tiny", "--epochs", "1", "--seeds", "1", "--jobs", "1",
        "--d-score", "none", "--attack", "none", "--defense", "an", "--lr", "0.01",
    )  # fmt: skip
    splits = datasets.create(spec).load()
    assert code == 0
    share = f"{100 * splits.train.known_share:.1f} % of the training labels are known"
    assert (share in out) == (name != "nih-chestxray14")


@pytest.mark.parametrize("name", ["chexpert", "nih-chestxray14"])
def test_a_hold_out_divides_no_patient(root, name):
    SETS[name][0](root, train=45)
    divided = []
    for by in ("patient", "image"):
        for seed in range(5):
            for stratify in ("false", "true"):
                parts = f"{SETS[name][1]},holdout_by={by},split_seed={seed},stratify={stratify}"
                splits = load(name, root, parts)
                shared = set(splits.train.groups) & set(splits.val.groups)
                divided.append((by, bool(shared)))
    assert ("patient", True) not in divided and ("image", True) in divided


@pytest.mark.parametrize("name", ["cub", "chexpert", "nih-chestxray14"])
def test_a_stratified_hold_out_has_positives_of_each_class(root, name):
    make = {"cub": make_cub, "chexpert": make_chexpert, "nih-chestxray14": make_nih}[name]
    make(root, train=180)
    for seed in range(3):
        splits = load(name, root, f"{SETS[name][1]},stratify=true,split_seed={seed}")
        assert splits.val.class_counts[0].all() and splits.train.class_counts[0].all()


@pytest.mark.parametrize("name", ["chexpert", "nih-chestxray14"])
def test_the_number_of_positives_is_told_and_not_counted(root, name):
    SETS[name][0](root)
    assert load(name, root, SETS[name][1]).expected_positives is None
    splits = load(name, root, f"{SETS[name][1]},expected_positives=1.5")
    assert splits.expected_positives == 1.5


# --- CUB


def test_cub_reads_attributes_split_and_boxes(root):
    make_cub(root)
    splits = load("cub", root)
    assert [len(part) for part in splits.parts.values()] == [8, 2, 6]
    assert splits.classes == [f"has_bill_shape::kind_{a}" for a in range(1, 6)]
    assert splits.expected_positives == 31.4
    for part in splits.parts.values():
        assert part.partial.is_complete
        for row, (name, labels) in enumerate(named(part).items()):
            i = int(re.search(r"_(\d{4})", name)[1])
            assert (i > 10) == (part is splits.test)
            assert labels == [int((i + a) % 3 == 0) for a in range(1, 6)]
            # 24 rows of 40 columns; the box is 20 wide and i high, at 10 and 6.
            box = [[6 / 24, 10 / 40, (6 + i) / 24, 30 / 40]]
            assert np.allclose(part.boxes[row], box)


def test_cub_takes_what_is_not_visible_as_unknown(root):
    make_cub(root)
    splits = load("cub", root, "certainty=ignore")
    for part in splits.parts.values():
        for name, labels in named(part).items():
            i = int(re.search(r"_(\d{4})", name)[1])
            seen = [(i + 2 * a) % 4 for a in range(1, 6)]
            assert [label == -1 for label in labels] == [not certainty for certainty in seen]


def test_cub_is_read_from_every_text_and_order(root):
    make_cub(root)
    before = load("cub", root, "certainty=ignore").fingerprint
    path = root / "CUB_200_2011" / "attributes" / "image_attribute_labels.txt"
    lines = path.read_text().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join([*lines[::-1], " "]).encode())
    assert load("cub", root, "certainty=ignore").fingerprint == before
    path.write_text("\n".join(line.replace(" ", "\t ") for line in lines))
    assert load("cub", root, "certainty=ignore").fingerprint == before
    edit(root / "CUB_200_2011" / "bounding_boxes.txt", "3 10.0", "3 11.0")
    assert load("cub", root, "certainty=ignore").fingerprint != before


LABELS = "CUB_200_2011/attributes/image_attribute_labels.txt"
CUB_FAULTS = [
    (LABELS, "1 3 0 4 3.718\n", "1 3 0\n", "with 4 whole numbers, got line 3: '1 3 0' .1 such"),
    (LABELS, "1 3 0 4", "1 3 0 x", "with 4 whole numbers, got line 3: '1 3 0 x 3.718' .1 such"),
    (LABELS, "1 3 0 4", "1 3 0 4.0", "with 4 whole numbers, got line 3"),
    (LABELS, "1 3 0 4", "1 3 -1 4", "with 4 whole numbers, got line 3"),
    (LABELS, "1 3 0 4", "1 3 0 1234567890", "with 4 whole numbers, got line 3"),
    (LABELS, "1 3 0 4", "1 3 2 4", "1 .present. or 0 of each attribute, got line 3: '1 3 2 4' .1"),
    (LABELS, "1 3 0 4", "1 3 0 5", "certainty of 1 to 4, got line 3: '1 3 0 5' .1 such"),
    (LABELS, "1 3 0 4", "1 3 0 0", "certainty of 1 to 4, got line 3: '1 3 0 0' .1 such"),
    (LABELS, "1 3 0 4", "99 3 0 4", "ids of images.txt in field 1, got line 3: '99 3 0 4'"),
    (LABELS, "1 3 0 4", "1 9 0 4", "ids of attributes.txt in field 2, got line 3: '1 9 0 4'"),
    (LABELS, "1 3 0 4 3.718\n", "", "one line for image 1 and attribute 3, got none .1 such"),
    (LABELS, "1 3 0 4", "1 2 0 4", "image 1 and attribute 2, got lines 2 and 3 .2 such"),
    ("CUB_200_2011/images.txt", "2 002", "2 ../002", "names must stay inside"),
    ("CUB_200_2011/images.txt", "2 002", "two 002", "lines 'id path', got line 2: 'two 002"),
    ("CUB_200_2011/images.txt", "2 002.Bird_2/Bird_0002.jpg", "2", "'id path', got line 2: '2'"),
    ("CUB_200_2011/images.txt", "\n2 ", "\n1 ", "an id must occur once, got '1' at line 1 and"),
    ("CUB_200_2011/images.txt", "002.Bird_2/Bird_0002", "001.Bird_1/Bird_0001", "a path must occur"),
    ("attributes.txt", "kind_2", "kind_1", "attributes.txt': a name must occur once"),
    ("CUB_200_2011/train_test_split.txt", "2 1", "2 2", "must say 1 or 0 of each image, got line 2: '2'"),
    ("CUB_200_2011/train_test_split.txt", "2 1\n", "", "got 15 for 16, the first in one alone with id 2 .1 such"),
    ("CUB_200_2011/train_test_split.txt", "2 1", "1 0", "an id must occur once, got '1' at line 1 and '1' at line 2"),
    ("CUB_200_2011/bounding_boxes.txt", "2 10.0 ", "2 ", "sides above 0, got line 2: '2 6.0"),
    ("CUB_200_2011/bounding_boxes.txt", "2 10.0 ", "2 nan ", "sides above 0, got line 2: '2 nan"),
    ("CUB_200_2011/bounding_boxes.txt", "2 10.0 6.0 20.0", "2 10.0 6.0 0", "above 0, got line 2"),
    ("CUB_200_2011/bounding_boxes.txt", "2 10.0 6.0 20.0 2.0\n", "", "first in one alone with id 2 .1 such"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), CUB_FAULTS)
def test_cub_names_file_line_and_text(root, name, old, new, message):
    make_cub(root)
    edit(root / name, old, new)
    with pytest.raises(DatasetError, match=message) as error:
        load("cub", root)
    assert name.rpartition("/")[2] in str(error.value) or "inside" in message


def test_numbers_of_lines_are_the_same_in_pieces(root, monkeypatch):
    make_cub(root)
    path = root / LABELS
    path.write_text(path.read_text().replace("\n", "\n\n", 7))
    whole = number_lines.leading_numbers(path, 4)
    monkeypatch.setattr(number_lines, "_CHUNK", 33)
    pieces = number_lines.leading_numbers(path, 4)
    assert (pieces.lines == whole.lines).all() and (pieces.numbers == whole.numbers).all()
    lines = path.read_text().splitlines()
    for number in (40, 60):
        lines[number] = "15 zero"
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match="got line 41: '15 zero' .2 such"):
        number_lines.leading_numbers(path, 4)
    for content in (b"", b" \n\n"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="4 whole numbers, got none"):
            number_lines.leading_numbers(path, 4)
    path.write_text("1 2 3 4\n", "utf-16")
    with pytest.raises(DatasetError, match="must be UTF-8, got UTF-16"):
        number_lines.leading_numbers(path, 4)


# --- CheXpert


@pytest.mark.parametrize("uncertain", ["positive", "negative", "ignore"])
@pytest.mark.parametrize("empty", ["negative", "ignore"])
def test_chexpert_reads_uncertain_and_empty_labels_as_chosen(root, uncertain, empty):
    make_chexpert(root)
    splits = load("chexpert", root, f"uncertain={uncertain},empty={empty}")
    assert splits.classes[0] == "No Finding" and len(splits.classes) == 14
    as_label = {"positive": 1, "negative": 0, "ignore": -1}
    of = [0, 1, as_label[uncertain], as_label[empty]]
    learned = named(splits.train) | named(splits.val)
    files = [f"train/patient{i // 2 + 1:05d}/study1/view{i % 2 + 1}_frontal.jpg" for i in range(12)]
    assert learned == {file: [of[(i + c) % 4] for c in range(14)] for i, file in enumerate(files)}
    assert list(named(splits.test).values()) == [[(i + c) % 2 for c in range(14)] for i in range(8)]
    assert set(splits.test.groups) == {f"patient{n}" for n in range(64541, 64545)}


def test_chexpert_leaves_out_what_is_not_known_in_the_test(root):
    make_chexpert(root)
    path = root / "CheXpert-v1.0-small" / "valid.csv"
    edit(path, "Frontal,AP,0.0,1.0,0.0,", "Frontal,AP,-1.0,,0.0,")
    splits = load("chexpert", root, "uncertain=positive,empty=negative")
    assert named(splits.test)[splits.test.ids[0]][:4] == [-1, -1, 0, 1]


@pytest.mark.parametrize("size", ["small", "full"])
def test_chexpert_paths_may_have_the_name_of_the_other_folder(root, size):
    folder, other = ("CheXpert-v1.0-small", "CheXpert-v1.0")[:: 1 if size == "small" else -1]
    make_chexpert(root, folder=folder, named=other)
    splits = load("chexpert", root, f"{CHOSEN},size={size}")
    assert splits.train.images[0].shape == (24, 40, 3)


def test_chexpert_columns_are_found_by_name(root):
    make_chexpert(root)
    before = load("chexpert", root, CHOSEN).fingerprint
    for part, end in (("train", "\r\n"), ("valid", "\r")):
        path = root / "CheXpert-v1.0-small" / f"{part}.csv"
        rows = [line.split(",") for line in path.read_text().splitlines()]
        turned = [",".join(f' "{field}"' for field in row[::-1]) for row in rows]
        path.write_bytes(b"\xef\xbb\xbf" + end.join([*turned, "", ","]).encode())
    assert load("chexpert", root, CHOSEN).fingerprint == before


def test_chexpert_must_be_told_what_uncertain_and_empty_labels_are(root, told):
    make_chexpert(root)
    uncertain = (
        r"'uncertain' must be positive \(U-Ones\), negative \(U-Zeros\) or ignore \(U-Ignore\)"
    )
    empty = r"'empty' must be negative \(as the authors train\) or ignore"
    for parameters, message in (
        ("", f"{uncertain}, and {empty}; got none"),
        ("empty=ignore", f"dataset 'chexpert': {uncertain}; got none"),
        ("uncertain=ignore", f"dataset 'chexpert': {empty}; got none"),
    ):
        with pytest.raises(DatasetError, match=message):
            load("chexpert", root, parameters)
    with pytest.raises(
        ParameterError, match="'uncertain' of dataset 'chexpert' must be 'positive'"
    ):
        load("chexpert", root, "uncertain=ones")
    code, _, err = told("bench", "--dataset", f"chexpert:root={root}", "--model", "tiny")
    assert code == 2 and re.search(empty, err)
    code, out, _ = told("data", "card", "chexpert")
    assert code == 0 and re.search("uncertain=positive .U-Ones., negative .U-Zeros.", out)
    findings = datasets.create(f"chexpert:root={root}").examine()
    assert [f.found for f in findings if "image files" in f.what] == ["12", "8"]


TRAIN, VALID = "CheXpert-v1.0-small/train.csv", "CheXpert-v1.0-small/valid.csv"
FIRST = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
CHEXPERT_FAULTS = [
    (TRAIN, "AP,0.0,1.0,-1.0", "AP,0.0,2.0,-1.0", "1.0, 0.0, -1.0 or nothing, got '2.0' at line 2, column 'Enlarged Cardiomediastinum' .1 such"),
    (TRAIN, "Path,", "Image,", "line 1 must name the column 'Path' once, got 'Image', 'Sex'"),
    (TRAIN, "Fracture,", "Edema,", "must name the column 'Edema' once"),
    (TRAIN, "AP,0.0,1.0,-1.0", "AP,0.0,1.0,0,-1.0", "line 2 must have 19 cells, got 20"),
    (TRAIN, FIRST, FIRST[20:], "paths as 'CheXpert-v1.0-small/.*got 'train/patient00001/.*line 2"),
    (TRAIN, FIRST, FIRST.replace("patient00001", "00001"), "must hold paths as .* at line 2"),
    (TRAIN, FIRST, FIRST.replace("-small", "-large"), "must hold paths as .* at line 2"),
    (TRAIN, FIRST, FIRST.replace("train/", "../"), "names must stay inside"),
    (TRAIN, FIRST.replace("view1", "view2"), FIRST, "an image must occur once, got .* at line 2 and .* at line 3"),
    (VALID, "patient64542/study1/view2", "patient00003/study1/view2", "patients must be in one of 'train.csv' and 'valid.csv', got 'patient00003' with 'train/patient00003/.*' and 'valid/patient00003/.*view2.* .1 such"),
    (TRAIN, "Female", "F\xe9male", "must be UTF-8, got byte 0xe9 at line 2"),
    (TRAIN, "Female", '"Female"x', "line 2 is badly quoted"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), CHEXPERT_FAULTS)
def test_chexpert_names_file_line_and_value(root, name, old, new, message):
    make_chexpert(root)
    edit(root / name, old, new)
    with pytest.raises(DatasetError, match=message) as error:
        load("chexpert", root, CHOSEN)
    assert name[-9:] in str(error.value) or "inside" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with a header .* got nothing"),
        ("Path,Sex\n".encode("utf-16"), "must be UTF-8, got UTF-16 at line 1"),
    ],
)
def test_chexpert_refuses_a_file_that_is_no_table(root, content, message):
    make_chexpert(root)
    (root / TRAIN).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load("chexpert", root, CHOSEN)


# --- ChestX-ray14


@pytest.mark.parametrize("version", ["2017", "v2020"])
@pytest.mark.parametrize("folders", [True, False])
def test_nih_reads_both_files_and_both_ways_of_folders(root, version, folders):
    make_nih(root, version=version, folders=folders)
    splits = load("nih-chestxray14", root, f"labels={version}")
    assert splits.classes == NIH_FINDINGS
    assert [len(part) for part in splits.parts.values()] == [12, 3, 6]
    for part in splits.parts.values():
        assert part.partial.is_complete and part.images[0].shape == (24, 40, 3)
        for (name, labels), patient in zip(named(part).items(), part.groups, strict=True):
            i = 3 * int(name[:8]) - 3 + int(name[9:12])
            assert patient == str(int(name[:8])) and (i >= 15) == (part is splits.test)
            findings = {i % 14, (i + 5) % 14} if i % 3 else set()
            assert {c for c, label in enumerate(labels) if label} == findings


def test_nih_shows_the_hash_of_the_label_file(root, told):
    make_nih(root)
    _, out, _ = told("data", "check", f"nih-chestxray14:root={root}")
    shown = re.search("Data_Entry_2017_v2020.csv: SHA-256 (?:found )?([0-9a-f]{12}) ", out)[1]
    note = load("nih-chestxray14", root).warnings[0]
    assert note == f"labels of Data_Entry_2017_v2020.csv, SHA-256 {shown}"
    edit(root / NIH, "Cardiomegaly", "Hernia")
    assert shown not in load("nih-chestxray14", root).warnings[0]


def test_nih_images_without_a_folder_are_missing(root):
    make_nih(root, folders=False)
    (root / "nih-chestxray14" / "images").rename(root / "nih-chestxray14" / "pictures")
    findings = datasets.create(f"nih-chestxray14:root={root}").examine()
    assert [f.what.rpartition("/")[2] for f in findings if f.found == "missing"] == ["images"]
    with pytest.raises(DatasetError, match="no image of 'train_val_list.txt' .*images/0000"):
        load("nih-chestxray14", root)


def test_nih_does_not_choose_between_two_files(root):
    make_nih(root)
    picture(root / "nih-chestxray14" / "images_012" / "images" / "00000002_001.png", 0)
    with pytest.raises(DatasetError, match=r"'00000002_001.png' must be one file .*'images_005/"):
        load("nih-chestxray14", root)


NIH = "nih-chestxray14/Data_Entry_2017_v2020.csv"
NIH_LIST = "nih-chestxray14/train_val_list.txt"
NIH_FAULTS = [
    (NIH, "Cardiomegaly|Pneumonia", "Cardiomegaly|Mas", "got line 3: unknown finding 'Mas'; did you mean 'Mass'. .1 such"),
    (NIH, "Cardiomegaly|Pneumonia", "Cardiomegaly|Pleural Thickening", "line 3: .*did you mean 'Pleural_Thickening'"),
    (NIH, "Cardiomegaly|Pneumonia", "", "line 3: unknown finding ''"),
    (NIH, "Cardiomegaly|Pneumonia", "No Finding|Mass", "line 3: 'No Finding' beside 'No Finding.Mass'"),
    (NIH, ",1,1,58", ",1,,58", "name a patient, .*got line 3: no patient .1 such"),
    (NIH, "Patient ID", "Patient", "line 1 must name the column 'Patient ID' once, got 'Image Index'"),
    (NIH, "Image Index", "Finding Labels", "line 1 must name the column 'Image Index' once"),
    (NIH, ",58,M,PA", ",58,M,P,A", "line 2 must have 12 cells, got 13"),
    (NIH, "00000001_001", "00000001_000", "'00000001_000.png' at line 2 and '00000001_000.png' at line 3"),
    (NIH_LIST, "00000002_001", "00000009_001", "images of 'Data_Entry_2017_v2020.csv', got line 5: '00000009_001.png' .1 such"),
    (NIH_LIST, "00000002_001", "00000002_000", "once, got '00000002_000.png' at line 4 and '00000002_000.png' at line 5"),
    (NIH_LIST, "00000002_001", "00000006_001", "patients must be in one of 'train_val_list.txt' and 'test_list.txt', got '6' with '00000006_001.png' and '00000006_000.png' .1 such"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), NIH_FAULTS)
def test_nih_names_file_line_and_value(root, name, old, new, message):
    make_nih(root)
    edit(root / name, old, new)
    with pytest.raises(DatasetError, match=message) as error:
        load("nih-chestxray14", root)
    assert name.rpartition("/")[2] in str(error.value)


# --- L48


def expected_l48(row, clip, prior):
    """Labels in training of a clip of the miniature, in the order of the species."""
    order = [SPECIES.index(SPECIES[(row + n) % 4]) for n in range(4)]
    labels = [-1] * 4
    if clip:
        labels[order[0]] = 1
    for column in {"none": [], "geo": order[3:], "checklist": order[2:]}[prior]:
        labels[column] = 0
    return labels


@pytest.mark.parametrize("prior", ["none", "geo", "checklist"])
def test_l48_knows_the_target_and_what_the_prior_rules_out(root, prior):
    make_l48(root)
    splits = load("l48", root, f"prior={prior}")
    assert splits.classes == list(SPECIES)
    assert named(splits.train) == {
        f"images/{r}/{k}.jpg": expected_l48(r, k, prior) for r in range(6) for k in range(4)
    }
    assert splits.train.positive_only == (prior == "none")
    assert splits.train.images[0].shape == (24, 40, 3)


def test_l48_does_not_know_other_species_than_the_target_in_training(root):
    make_l48(root)
    lists = {"present": ["amerob"], "absent": ["amecro"], "unknown": ["bkcchi", "norcar"]}
    clip = {f"{key}_species_codes": codes for key, codes in lists.items()}
    change(root / "ml48s" / "clips.json", lambda clips: clips[1].update(clip))
    assert named(load("l48", root).train)["images/0/1.jpg"] == [-1] * 4
    assert named(load("l48", root, "prior=checklist").train)["images/0/1.jpg"] == [-1, -1, 0, 0]


def test_l48_tests_on_the_labels_of_annotators(root):
    make_l48(root)
    splits = load("l48", root)
    for part, first in ((splits.val, 6), (splits.test, 8)):
        for name, labels in named(part).items():
            asset, clip = map(int, re.findall(r"\d+", name))
            row = asset % 8000 + 8 * (asset >= 8000)
            assert row >= first
            turned = [labels[(row + n) % 4] for n in range(4)]
            assert turned == [int(clip > 0), -1 if clip == 1 else 0, 0, 0]
    assert set(splits.val.groups) == {"6", "7"} and set(splits.test.groups) == {
        "8000",
        "8001",
        "8002",
    }
    dropped = load("l48", root, "incomplete=drop")
    assert dropped.test.partial.is_complete and len(dropped.test) == 9 and len(dropped.val) == 6
    assert named(dropped.train) == named(splits.train)


def test_l48_paths_may_begin_below_the_folder_of_images(root):
    make_l48(root)
    before = load("l48", root).fingerprint
    edit(root / "ml48s" / "clips.json", '"images/', '"', times=-1)
    assert load("l48", root).fingerprint == before


def change(path, damage):
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))


L48_FAULTS = [
    ("clips", lambda c: c[2].update(asset_id=77), "an id of assets.json as 'asset_id', got 77 in item 2"),
    ("clips", lambda c: c[2].pop("asset_id"), "a whole number as 'asset_id', got None in item 2"),
    ("clips", lambda c: c[2].update(file_path=5), "a text as 'file_path', got 5 in item 2"),
    ("clips", lambda c: c[2].update(file_path="../x.jpg"), "names must stay inside|no image"),
    ("clips", lambda c: c[2].update(file_path=c[1]["file_path"]), "a file_path must occur once, .*item 1 and .*item 2"),
    ("clips", lambda c: c[2].pop("unknown_species_codes"), "a list of text as 'unknown_species_codes', got None in item 2"),
    ("clips", lambda c: c[2].update(present_species_codes=[7]), r"a list of text as 'present_species_codes', got \[7\]"),
    ("clips", lambda c: c[2].update(present_species_codes=["amecrow"]), "species of taxa.csv, got item 2: unknown species 'amecrow'; did you mean 'amecro'"),
    ("clips", lambda c: c[2]["absent_species_codes"].append("amecro"), "each species once in its lists, got 'amecro' in item 2"),
    ("clips", lambda c: c.insert(1, 7), "must hold objects, got 7 as item 1"),
    ("clips", lambda c: c.clear(), "must be a list of objects, got none"),
    ("assets", lambda a: a[1].update(split="val"), "train or test as 'split', got 'val' in item 1"),
    ("assets", lambda a: a[1].update(target_species_code="amerobx"), "got item 1: unknown species 'amerobx'; did you mean 'amerob'"),
    ("assets", lambda a: a[1].update(id=0), "an id must occur once, got '0' at item 0 and '0' at item 1"),
    ("assets", lambda a: a[1].update(possible_species_codes="amerob"), "a list of text as 'possible_species_codes', got 'amerob' in item 1"),
    ("assets", lambda a: a[1].update(possible_species_codes=["norcar"]), "target is present though it is not on the list .*'images/1/1.jpg' .3 such"),
    ("assets", lambda a: a[7].update(split="test"), "val_split.npy as training recordings, got none with id 7 .1 such"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [("[{", "must be JSON"), ('{"id": 1}', "a list of objects, got none"), ("", "must be JSON")],
)
def test_l48_refuses_a_file_that_is_no_list(root, content, message):
    make_l48(root)
    (root / "ml48s" / "clips.json").write_text(content)
    with pytest.raises(DatasetError, match=f"clips.json' {message}|clips.json' must be {message}"):
        load("l48", root)


@pytest.mark.parametrize(("name", "damage", "message"), L48_FAULTS)
def test_l48_names_file_item_and_value(root, name, damage, message):
    make_l48(root)
    change(root / "ml48s" / f"{name}.json", damage)
    with pytest.raises(DatasetError, match=message):
        load("l48", root, "prior=geo")


def test_l48_names_what_is_wrong_with_species_and_validation(root):
    make_l48(root)
    folder = root / "ml48s"
    edit(folder / "taxa.csv", "amerob", "amecro")
    with pytest.raises(DatasetError, match="a species must occur once, got 'amecro' at line 2 and"):
        load("l48", root)
    (folder / "taxa.csv").write_text("code,name\na,b\n")
    with pytest.raises(DatasetError, match="line 1 must name the column 'species_code' once"):
        load("l48", root)
    (folder / "taxa.csv").write_text("species_code,name\na,b\n,c\n")
    with pytest.raises(DatasetError, match="a species must have a code, got none at line 3"):
        load("l48", root)
    (folder / "taxa.csv").write_text("species_code,name\na,b\n")
    np.save(folder / "val_split.npy", np.zeros((2, 2)))
    with pytest.raises(DatasetError, match=r"a list of ids of recordings, got float64 \(2, 2\)"):
        load("l48", root)
    (folder / "val_split.npy").write_bytes(b"x")
    with pytest.raises(DatasetError, match="val_split.npy' cannot be read"):
        load("l48", root)


def test_nus_wide_names_its_copy_and_its_splits(told):
    code, out, _ = told("data", "card", "nus-wide")
    assert code == 0 and "huggingface.co/datasets/Lxyhaha/NUS-WIDE" in out
    for split in ("161,789/107,859", "150,000/60,260", "119,103/50,720", "97,214/65,075"):
        assert split in out
