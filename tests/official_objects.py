"""Miniatures of LVIS, Open Images and Visual Genome, in the exact layout of the archives."""

import csv
import json

import numpy as np

from tests.official import picture

LVIS_CATEGORIES = {3: "aerosol_can", 7: "air_conditioner", 8: "airplane", 12: "alarm_clock"}


def make_lvis(root, train=12, val=8):
    """Categories by id modulo 4: 0 annotated (twice), 1 absent, 2 and 3 unknown, 3 not exhaustive.

    Every third image of either list is in val2017. Ids are not sorted; the last image of train has
    neither an annotation nor an absent category.
    """
    rng = np.random.default_rng(0)
    ids = rng.choice(np.arange(1, 500000), train + val, replace=False).tolist()
    categories = [
        {"id": c, "name": n, "synset": f"{n}.n.01", "frequency": "f", "image_count": 3}
        for c, n in LVIS_CATEGORIES.items()
    ]
    kinds = list(LVIS_CATEGORIES)
    truth = {}
    for split, some in (("train", ids[:train]), ("val", ids[train:])):
        images, annotations = [], []
        for number, image in enumerate(some):
            folder = "val2017" if number % 3 == 2 else "train2017"
            bare = split == "train" and number == train - 1
            there, gone, partly = (kinds[(number + step) % 4] for step in (0, 1, 3))
            images.append(
                {
                    "id": image,
                    "coco_url": f"http://images.cocodataset.org/{folder}/{image:012d}.jpg",
                    "height": 24,
                    "width": 40,
                    "neg_category_ids": [] if bare else [gone],
                    "not_exhaustive_category_ids": [partly] + [there] * (number % 2),
                }
            )
            annotations += [
                {"image_id": image, "category_id": there, "bbox": [1, 2, 3, 4], "area": 9.5}
            ] * (0 if bare else 2)
            truth[f"{folder}/{image:012d}.jpg"] = (
                {} if bare else {LVIS_CATEGORIES[there]: True, LVIS_CATEGORIES[gone]: False}
            )
            picture(root / "coco" / folder / f"{image:012d}.jpg", image)
        for number, annotation in enumerate(annotations):
            annotations[number] = annotation | {"id": number + 1}
        path = root / "lvis" / f"lvis_v1_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"annotations": annotations, "images": images, "categories": categories})
        )
    return truth


OPEN_IMAGES = {"/m/01g317": "Person", "/m/0dzct": "Organ", "/g/11x_": "Organ", "/m/0k4j": "Car"}
NO_LABEL = "58c970f287de7333"
IMAGE_COLUMNS = "ImageID,Subset,OriginalURL,Author,Title,Rotation".split(",")


def open_images_lines(split, count):
    """Labels of a list: each image has a person or not, and one other class or not."""
    lines, truth = [], {}
    others = [name for name in OPEN_IMAGES if OPEN_IMAGES[name] != "Person"]
    for number in range(count):
        image = f"{len(split):04x}{number * 7919 + 1:012x}"
        values = {"/m/01g317": number % 2, others[number % 3]: number // 3 % 2}
        sources = ("verification", "crowdsource-verification")
        for (name, value), source in zip(values.items(), sources, strict=True):
            lines.append(f"{image},{source},{name},{value}")
        truth[image] = values
    return lines, truth


def make_open_images(root, release="v6", train=14, validation=8, test=12, lists=False):
    """Labels of three lists; with ``lists``, also those of the images.

    A label is there twice, one is of a class that is not trainable, and two classes have one name.
    Validation lists the image of the official list that no label names.
    """
    folder = root / "openimages" / release
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "oidv6-" if release == "v6" else ""
    names = "".join(f"{c},{n}\n" for c, n in OPEN_IMAGES.items()) + '/m/0x,"Pig\'s, so called"\n'
    header = "LabelName,DisplayName\n" if release == "v6" else ""
    (folder / f"{prefix}class-descriptions.csv").write_text(header + names)
    (folder / f"{prefix}classes-trainable.txt").write_text("\n".join(OPEN_IMAGES) + "\n")
    known = {}
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        lines, truth = open_images_lines(split, count)
        image = lines[0][:16]
        lines += [lines[0], f"{image},verification,/m/0x,1"]
        first = prefix if split == "train" else ""
        path = folder / f"{first}{split}-annotations-human-imagelabels.csv"
        path.write_text("\n".join(["ImageID,Source,LabelName,Confidence", *lines]) + "\n")
        images = list(truth)
        if lists and split == "validation":
            images.append(NO_LABEL)
            truth[NO_LABEL] = {}
        if lists:
            name = f"{split}-images-with-{'labels-with-' * (split == 'train')}rotation.csv"
            with (folder / f"{first}{name}").open("w", newline="") as file:
                rows = ([i, split, "https://x/y.jpg", "A, B", "two\nlines", 0.0] for i in images)
                csv.writer(file).writerows([IMAGE_COLUMNS, *rows])
        for number, image in enumerate(images):
            picture(root / "openimages" / split / f"{image}.jpg", number)
        known[split] = truth
    return known


def make_visual_genome(root, classes=500, train=14, test=8):
    """Class c is on image i if (i + c) % 3 == 0; both lists have corrupt images."""
    folder = root / "VG"
    folder.mkdir(parents=True, exist_ok=True)
    lists = {
        "train": [f"{2315000 + i}.jpg" for i in range(train)] + ["1592.jpg", "4617.jpg"],
        "test": [f"{2410000 + i}.jpg" for i in range(test)] + ["1722.jpg"],
    }
    labels = {}
    for split, names in lists.items():
        (folder / f"{split}_list_500.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            labels[name] = [c for c in range(classes) if (i + c) % 3 == 0]
            picture(folder / "VG_100K" / name, i)
    for name in ("1592.jpg", "1722.jpg"):
        (folder / "VG_100K" / name).write_bytes(b"\xff\xd8\xff")
    (folder / "VG_100K" / "4617.jpg").unlink()
    labels["1.jpg"] = [0]  # of an image on neither list
    (folder / f"vg_category_{classes}_labels_index.json").write_text(json.dumps(labels))
    return labels
