"""Extracting features from image files against the bare backbone, and the memory it takes.

    python benchmarks/speed/features.py

VOC 2007 (LABELATTACK_DATA), or made-up JPEG files of the same size. One process with one thread on
one core, decoding included, under the same settings of malloc; the bare side has normalised images
in memory, in the layout that convolutions like best. Peaks of memory differ by 7 % from run to run.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from growth import peak
from side_by_side import compare, lines

IMAGES, ROUNDS = 256, 7
SIZES, RUNS, LIMIT = (512, 2_048), 3, 1.1
CASES = ("efficientnet-lite0", 0.9), ("tiny", None)


@cache
def made_up():
    return tempfile.TemporaryDirectory()  # gone with this process


def images(count):
    """A split of JPEG files."""
    from PIL import Image

    from labelattack import datasets
    from labelattack.datasets.base import Split
    from labelattack.datasets.images import FileImages
    from labelattack.errors import DatasetError

    try:
        return datasets.create("voc").load().test.take(np.arange(count))
    except DatasetError:
        folder = Path(made_up().name)
        rng = np.random.default_rng(0)
        for number in range(count):
            coarse = rng.integers(0, 256, (28, 37, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((299, 224)).save(folder / f"{number}.jpg")
        names = [f"{number}.jpg" for number in range(count)]
        return Split(FileImages(folder, names), np.ones((count, 1), dtype=np.bool_), names)


@contextmanager
def empty_cache():
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, LABELATTACK_CACHE=folder),
    ):
        yield


@contextmanager
def one_core():
    """Keeps the thread that decodes from taking a second core, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rows():
    import torch

    from labelattack import datasets, models
    from labelattack.training import feature_cache
    from labelattack.training.hardware import single_thread
    from labelattack.training.inputs import ImageInputs, split_batches

    single_thread()
    for name, goal in CASES:
        spec, built = models.registry.resolve(name), models.create(name)
        digits = built.preprocessing.size is None
        split = datasets.create("digits").load().test if digits else images(IMAGES)
        inputs = ImageInputs(split.images, built.preprocessing, torch.device("cpu"))
        ready = list(
            inputs.stream(split_batches(np.arange(len(inputs)), feature_cache._ON_CPU.batch))
        )
        network = built.frozen().to(memory_format=torch.channels_last)

        def extraction(split=split, spec=spec):
            with empty_cache():
                feature_cache.features(split, spec)

        @torch.inference_mode()
        def bare(network=network, ready=ready):
            for batch in ready:
                network(batch)

        where = "memory" if digits else "files"
        with one_core():
            yield compare(
                f"features of {len(inputs):,} images from {where}, {name}",
                "the bare backbone, one core", extraction, bare, "speedup", goal, rounds=ROUNDS,
            )  # fmt: skip


def point(count):
    """Prints the peak memory in bytes of extracting each cell's share of pooled features."""
    from labelattack import models
    from labelattack.measures._d_score.ablation import PatchReadout
    from labelattack.measures._d_score.stage import Stage
    from labelattack.measures.d_score import DScoreSettings
    from labelattack.training.feature_cache import features

    readout = PatchReadout(Stage(1_280, 7, 7, 7, 7), DScoreSettings(features="boxes"))
    with empty_cache():
        found = features(
            images(count), models.registry.resolve("efficientnet-lite0"), readout=readout
        )
        print(json.dumps([peak(), sum(values.nbytes for values in found.values())]))


def memory():
    """Peak memory of each round, and size of what is extracted, in bytes, by number of images."""
    found = {count: [] for count in SIZES}
    for _ in range(RUNS):
        for count in SIZES:
            command = [sys.executable, __file__, str(count)]
            told = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
            found[count].append(json.loads(told))
    return found


def main():
    measured, peaks = list(rows()), memory()
    print("\n".join(lines(measured)))
    for count, runs in peaks.items():
        all_peaks = ", ".join(f"{most >> 20:,}" for most, _ in runs)
        print(f"{count:,} images, {runs[0][1] >> 20:,} MiB of arrays: peaks {all_peaks} MiB")
    few, many = (peaks[count] for count in SIZES)
    growth = [b / a for (a, _), (b, _) in zip(few, many, strict=True)]
    spread = statistics.median(growth), min(growth), max(growth)
    print("peak memory grows by {:.2f} ({:.2f} to {:.2f}), limit {}".format(*spread, LIMIT))
    ratios = {row.what: (row.ratio, row.low, row.high) for row in measured}
    return {"throughput": ratios, "peaks": peaks, "growth": spread}


if __name__ == "__main__":
    if len(sys.argv) == 2:
        point(int(sys.argv[1]))
    else:
        found = main()
        fine = found["growth"][0] <= LIMIT and next(iter(found["throughput"].values()))[0] >= 0.9
        sys.exit(not fine)
