"""Peak memory of the loaders against the number of images, on a made-up NUS-WIDE of full size.

    python benchmarks/memory/loaders.py

Lists, labels and image files are laid out as the official ones are, by links to one small JPEG.
Each step runs in a process of its own; what importing alone takes is subtracted. Names and labels
are held for each image, pixels for two batches.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZES = (33_706, 67_412, 134_824, 269_648)
STREAMED = (4_096, 16_384)
SIDE, BATCH = 224, 64
LINKS = 30_000  # fewer than a file may have
PER_IMAGE = 1024  # bytes


def lay_out(root, images):
    """Writes NUS-WIDE's layout: 60 % of the images on the training list."""
    from PIL import Image

    folder = root / "NUS-WIDE"
    for name in ("ConceptsList", "ImageList", "Groundtruth/TrainTestLabels", "Flickr/zoo"):
        (folder / name).mkdir(parents=True)
    concepts = [f"concept{number}" for number in range(81)]
    (folder / "ConceptsList" / "Concepts81.txt").write_text("\n".join(concepts), encoding="utf-8")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    train = round(0.6 * images)
    for split, start, stop in (("Train", 0, train), ("Test", train, images)):
        names = [f"zoo\\{number:07d}_2124494179_b039ddccac_m.jpg" for number in range(start, stop)]
        (folder / "ImageList" / f"{split}Imagelist.txt").write_text(
            "\r\n".join(names), encoding="utf-8"
        )
        for concept in concepts:
            signs = np.full((stop - start, 2), (48, 10), dtype=np.uint8)
            signs[rng.random(len(signs)) < 0.023, 0] = 49
            path = folder / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{split}.txt"
            path.write_bytes(signs.tobytes())
        for number, name in enumerate(names):
            path = folder / "Flickr" / name.replace("\\", "/")
            if number % LINKS == 0:
                original = path
                Image.fromarray(pixels).save(original)
            else:
                os.link(original, path)


def step(what, root, count):
    """Runs one step and prints its peak in bytes, libraries included."""
    import torch

    from labelattack import datasets
    from labelattack.models.base import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
    from labelattack.training.inputs import ImageInputs, split_batches

    if what != "import":
        splits = datasets.create(f"nus-wide:root={root}").load()
        assert splits.fingerprint
    if what == "stream":
        inputs = ImageInputs(
            splits.train.images,
            Preprocessing(SIDE, IMAGENET_MEAN, IMAGENET_STD, flip=True),
            torch.device("cpu"),
        )
        for _ in inputs.stream(split_batches(np.arange(count), BATCH), seed=0):
            pass
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def measured(what, root, count=0):
    """Peak of a step in a process of its own."""
    command = [sys.executable, __file__, what, str(root), str(count)]
    return json.loads(
        subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        roots = {images: Path(folder) / str(images) for images in SIZES}
        for images, root in roots.items():
            lay_out(root, images)
        imported = measured("import", roots[SIZES[0]])
        print(f"importing: {imported >> 20} MiB")
        loaded = {}
        for images, root in roots.items():
            loaded[images] = measured("load", root) - imported
            print(f"loading {images:7} images: {loaded[images] >> 20:5} MiB more")
        slope = np.polyfit(list(loaded), list(loaded.values()), 1)[0]
        print(f"{slope:.0f} bytes an image, limit {PER_IMAGE}")
        streamed = []
        for count in STREAMED:
            streamed.append(measured("stream", roots[SIZES[-1]], count) - imported)
            more = (streamed[-1] - loaded[SIZES[-1]]) >> 20
            print(f"streaming {count:6} of {SIZES[-1]} images at {SIDE} px: {more:5} MiB more")
    # Decoding four times as many must not take a tenth of what their pixels would.
    pixels = (STREAMED[1] - STREAMED[0]) * 3 * SIDE**2
    sys.exit(slope > PER_IMAGE or streamed[1] - streamed[0] > pixels / 10)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        step(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
