"""Miniatures of official datasets, in the exact layout of the archives."""

import json

import numpy as np
from PIL import Image

from labelattack.datasets.voc import CLASSES


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_voc(root, year, lists, xml=()):
    """``lists`` maps a list to its image names; class c is on image i if (i + c) % 3 == 0."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in lists.items():
        for c, name in enumerate(CLASSES):
            lines = "".join(
                f"{image} {1 if (i + c) % 3 == 0 else -1:>2}\n" for i, image in enumerate(names)
            )
            (folder / "ImageSets" / "Main" / f"{name}_{split}.txt").write_text(lines)
        for i, image in enumerate(names):
            picture(folder / "JPEGImages" / f"{image}.jpg", i)


def make_coco(root, year="2014", train=10, val=6, empty=2):
    """Image ids are neither sorted nor contiguous, category ids have gaps; the first images are empty."""
    rng = np.random.default_rng(0)
    category_ids = sorted(rng.choice(np.arange(1, 91), 80, replace=False).tolist())
    categories = [{"supercategory": "x", "id": c, "name": f"kind {c}"} for c in category_ids]
    truth = {}
    for split, count in ((f"train{year}", train), (f"val{year}", val)):
        ids = rng.choice(np.arange(1, 500000), count, replace=False).tolist()
        prefix = f"COCO_{split}_" if year == "2014" else ""
        images = [
            {"license": 1, "file_name": f"{prefix}{i:012d}.jpg", "height": 24, "width": 40, "id": i}
            for i in ids
        ]
        annotations, labels = [], {i: set() for i in ids}
        for i in ids[empty:]:
            for column in [*rng.choice(80, 3).tolist(), int(i) % 80]:
                labels[i].add(column)
                annotations.append(
                    {
                        "segmentation": [[1.5, 2.5, 3.0, 4.0, 5.0, 6.0]]
                        if column % 2
                        else {"counts": [3, 4], "size": [24, 40]},
                        "area": 12.5,
                        "iscrowd": 1 - column % 2,
                        "image_id": i,
                        "bbox": [1.0, 2.0, 3.0, 4.0],
                        "category_id": category_ids[column],
                        "id": len(annotations),
                    }
                )
        content = {
            "info": {"year": int(year)},
            "images": images,
            "licenses": [],
            "annotations": annotations,
            "categories": categories,
        }
        path = root / "coco" / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        for image in images:
            picture(root / "coco" / split / image["file_name"], image["id"])
        truth[split] = labels
    return truth


def make_nus_wide(root, train=10, test=6):
    """Lists with backslashes and Windows line ends; every fifth row has no label."""
    folder = root / "NUS-WIDE"
    concepts = [f"concept{i:02d}" for i in range(81)]
    (folder / "ConceptsList").mkdir(parents=True)
    (folder / "ConceptsList" / "Concepts81.txt").write_text("\n".join(concepts) + "\n")
    (folder / "ImageList").mkdir()
    (folder / "Groundtruth" / "TrainTestLabels").mkdir(parents=True)
    rng = np.random.default_rng(1)
    truth = {}
    for split, count in (("Train", train), ("Test", test)):
        names = [f"{'actor' if i % 2 else 'zoo'}\\{i:04d}_{split}.jpg" for i in range(count)]
        (folder / "ImageList" / f"{split}Imagelist.txt").write_bytes("\r\n".join(names).encode())
        labels = rng.random((count, 81)) < 0.05
        labels[np.arange(count), np.arange(count) % 81] = True
        labels[::5] = False
        for column, concept in enumerate(concepts):
            path = folder / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{split}.txt"
            path.write_text("".join(f"{int(v)}\n" for v in labels[:, column]))
        for i, name in enumerate(names):
            picture(folder / "Flickr" / name.replace("\\", "/"), i)
        truth[split] = labels
    return truth
