"""Miniatures of CUB, CheXpert, ChestX-ray14 and L48, in the layout of the archives."""

import json

import numpy as np

from tests.official import picture


def make_cub(root, train=10, test=6, attributes=5):
    """Attribute a is on image i if (i + a) % 3 == 0; its certainty is 1 + (i + 2 a) % 4.

    As in the archive, ``attributes.txt`` lies beside the folder, and some lines have too many fields.
    """
    folder = root / "CUB_200_2011"
    (folder / "attributes").mkdir(parents=True)
    numbers = range(1, train + test + 1)
    files = {i: f"{i % 3:03d}.Bird_{i % 3}/Bird_{i:04d}.jpg" for i in numbers}
    columns = range(1, attributes + 1)
    write(root / "attributes.txt", (f"{a} has_bill_shape::kind_{a}" for a in columns))
    write(folder / "images.txt", (f"{i} {name}" for i, name in files.items()))
    write(folder / "train_test_split.txt", (f"{i} {int(i <= train)}" for i in numbers))
    write(folder / "bounding_boxes.txt", (f"{i} 10.0 6.0 20.0 {i}.0" for i in numbers))
    write(
        folder / "attributes" / "image_attribute_labels.txt",
        (
            f"{i} {a} {int((i + a) % 3 == 0)} {1 + (i + 2 * a) % 4} {a}.718" + " 0 0" * (i == 2)
            for i in numbers
            for a in columns
        ),
    )
    for i, name in files.items():
        picture(folder / "images" / name, i)


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def make_chexpert(root, train=12, valid=8, folder="CheXpert-v1.0-small", named=None):
    """Every patient has two images; finding c of training image i has state (i + c) % 4.

    States are absent, present, uncertain and empty; of the test list, the first two only.
    """
    names = ("0.0", "1.0", "-1.0", "")
    for part, count, states in (("train", train, 4), ("valid", valid, 2)):
        lines = [CHEXPERT_HEADER]
        for i in range(count):
            patient = f"patient{i // 2 + 1 + 64540 * (part == 'valid'):05d}"
            file = f"{part}/{patient}/study1/view{i % 2 + 1}_frontal.jpg"
            labels = ",".join(names[(i + c) % states] for c in range(14))
            lines.append(f"{named or folder}/{file},Female,68,Frontal,AP,{labels}")
            picture(root / folder / file, i)
        write(root / folder / f"{part}.csv", lines)


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,{sex},View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
NIH_FINDINGS = (
    "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax "
    "Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"
).split()


def make_nih(root, train=15, test=6, version="v2020", folders=True):
    """Every patient has three images, the first without a finding, the others with two.

    The header divides names at commas and ends with one; the old file writes ages as ``058Y``.
    """
    folder = root / "nih-chestxray14"
    old = version == "2017"
    lines, lists = [NIH_HEADER.format(sex="Patient Gender" if old else "Patient Sex")], [[], []]
    for i in range(train + test):
        image = f"{i // 3 + 1:08d}_{i % 3:03d}.png"
        findings = sorted((NIH_FINDINGS[i % 14], NIH_FINDINGS[(i + 5) % 14]))
        labels = "|".join(findings) if i % 3 else "No Finding"
        age = "058Y" if old else "58"
        lines.append(f"{image},{labels},{i % 3},{i // 3 + 1},{age},M,PA,2682,2749,0.143,0.143,")
        lists[i >= train].append(image)
        place = f"images_{i % 12 + 1:03d}/images" if folders else "images"
        picture(folder / place / image, i)
    name = "Data_Entry_2017.csv" if old else "Data_Entry_2017_v2020.csv"
    write(folder / name, lines)
    write(folder / "train_val_list.txt", lists[0])
    write(folder / "test_list.txt", lists[1])


SPECIES = ("amecro", "amerob", "bkcchi", "norcar")


def make_l48(root, train=6, val=2, test=3, clips=4):
    """Recording r has target r % 4; possible are the target and the next two, observed the next one.

    In clip k, the target is present unless k is 0, the species after it is unknown in clip 1, and
    all others are absent. Ids of test recordings are from 8000, as in the archive.
    """
    folder = root / "ml48s"
    folder.mkdir(parents=True)
    ids = [*range(train + val), *range(8000, 8000 + test)]
    taxa = (f"{code},Bird {n},Avis {code}" for n, code in enumerate(SPECIES))
    write(folder / "taxa.csv", ("species_code,common_name,scientific_name", *taxa))
    np.save(folder / "val_split.npy", np.arange(train, train + val))
    assets, images = [], []
    for row, asset in enumerate(ids):
        species = [SPECIES[(row + n) % 4] for n in range(4)]
        lists = {"present": species[:1], "unknown": species[1:2], "absent": species[2:]}
        assets.append(
            {
                "id": asset,
                "split": "test" if asset >= 8000 else "train",
                "target_species_code": species[0],
                "possible_species_codes": species[:3],
                "observed_species_codes": [*species[:2], "no-class"],
                **{f"{key}_species_codes": codes for key, codes in lists.items()},
            }
        )
        for k in range(clips):
            present, unknown = species[: k > 0], species[1 : 1 + (k == 1)]
            absent = [code for code in species if code not in present + unknown]
            lists = {"present": present, "unknown": unknown, "absent": absent}
            box = {"id": 0, "species_code": species[0], "status": "active", "bbox": [0, 0, 0.5, 1]}
            images.append(
                {
                    "id": len(images),
                    "asset_id": asset,
                    "clip_order": k,
                    "file_path": f"images/{asset}/{k}.jpg",
                    "width": 750,
                    "height": 236,
                    **{f"{key}_species_codes": codes for key, codes in lists.items()},
                    "boxes": [box] * len(present),
                }
            )
            picture(folder / images[-1]["file_path"], len(images))
    (folder / "assets.json").write_text(json.dumps(assets))
    (folder / "clips.json").write_text(json.dumps(images))
