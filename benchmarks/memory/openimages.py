"""Time and peak memory of attacking labels of Open Images' size: 9,000,000 x 600, few known.

    python benchmarks/memory/openimages.py            # attacks and growth: exits 1 above a limit
    python benchmarks/memory/openimages.py storages   # other ways of storing, for comparison

The density is that of Open Images V4: 13.4 million positive and 14.4 million negative
human-verified labels on 9.0 million training images, 3.1 known entries an image. Each step runs in
a process of its own; the peak is of the whole process, libraries included. Times are of attack and
manifest, the best of three, without making the labels up.
"""

import json
import math
import resource
import subprocess
import sys
import time

import numpy as np

IMAGES, LABELS, KNOWN, POSITIVE = 9_000_000, 600, 3.1, 0.48
MOST_SECONDS, MOST_GIB, MOST_GROWTH = 60, 6, 1.05
ATTACKS = (
    "targeted:rate=0.4", "targeted:rate=0.4,scope=image", "random:rate=0.4",
    "random:rate=0.4,scope=image", "single-positive",
)  # fmt: skip
SIZES = (1_125_000, 2_250_000, 4_500_000, IMAGES)
BLOCK = 65_536  # images at a time, for the storages that are not chosen


def entries(images):
    """Row, class and value of made-up known entries, image by image."""
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, images * LABELS, int(images * KNOWN)))
    rows, columns = (places // LABELS).astype(np.int32), (places % LABELS).astype(np.int16)
    return rows, columns, rng.random(len(places), dtype=np.float32) < POSITIVE


def attack(what, images):
    """Attacks the labels and counts what was removed, manifest written as JSON."""
    from labelattack import attacks
    from labelattack.attacks.manifest import manifest
    from labelattack.labels import PartialLabels

    labels = PartialLabels.from_entries((images, LABELS), *entries(images))
    chosen = attacks.create(what)
    chosen(labels.take(slice(1000)), seed=0)  # imports
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        left = chosen(labels, seed=seed)
        manifest(chosen, what, seed, labels, left).model_dump_json()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def bits(rows, columns, images):
    """A mask of entries, packed eight a byte: uint8 ``[images, labels / 8]``."""
    packed = np.empty((images, LABELS // 8), dtype=np.uint8)
    for first in range(0, images, BLOCK):
        inside = slice(*np.searchsorted(rows, (first, first + BLOCK)))
        block = np.zeros((min(BLOCK, images - first), LABELS), dtype=np.bool_)
        block[rows[inside] - first, columns[inside]] = True
        packed[first : first + BLOCK] = np.packbits(block, axis=1)
    return packed


def random_on_bits(images):
    """``random:rate=0.4`` and its counts on packed bits, unpacked in blocks of images."""
    from labelattack.attacks.base import draw_share
    from labelattack.seeding import generator

    rows, columns, positive = entries(images)
    values, known = (bits(rows[of], columns[of], images) for of in (positive, slice(None)))
    del rows, columns, positive
    start = time.perf_counter()
    total = int(np.bitwise_count(known).sum())
    kept = ~draw_share(np.ones(total, dtype=np.bool_), 0.4, generator(0, "attack"))
    left, done, lost = np.empty_like(known), 0, np.zeros((2, LABELS), dtype=np.int64)
    for first in range(0, images, BLOCK):
        some = slice(first, first + BLOCK)
        block = np.unpackbits(known[some], axis=1).view(np.bool_)
        truth = np.unpackbits(values[some], axis=1).view(np.bool_)
        after, count = np.zeros_like(block), int(np.count_nonzero(block))
        after[block] = kept[done : done + count]
        done += count
        gone = block & ~after
        lost += np.array([(gone & truth).sum(0), (gone & ~truth).sum(0)])
        left[some] = np.packbits(after, axis=1)
    return time.perf_counter() - start


def random_on_arrays(images):
    """The same on two arrays of bool, which the attack and the manifest handle as they do COCO."""
    from labelattack import attacks
    from labelattack.attacks.manifest import manifest
    from labelattack.labels import PartialLabels

    rows, columns, positive = entries(images)
    values, known = (np.zeros((images, LABELS), dtype=np.bool_) for _ in range(2))
    values[rows, columns], known[rows, columns] = positive, True
    labels = PartialLabels(values, known)
    del rows, columns, positive, values, known
    chosen = attacks.create("random:rate=0.4")
    start = time.perf_counter()
    manifest(chosen, "", 0, labels, chosen(labels, seed=0)).model_dump_json()
    return time.perf_counter() - start


STORAGES = {
    "a list of known entries": lambda images: attack("random:rate=0.4", images),
    "packed bits, in blocks": random_on_bits,
    "two arrays of bool": random_on_arrays,
}


def measured(*step):
    """Seconds and peak GiB of a step in a process of its own."""
    command = [sys.executable, __file__, *map(str, step)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def run_step(what, images):
    seconds = STORAGES[what](images) if what in STORAGES else attack(what, images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gib": peak}))


def compare_storages():
    images = SIZES[0]
    for what in STORAGES:
        found = measured(what, images)
        print(
            f"{images:9,} x {LABELS}, {what:25} {found['seconds']:7.2f} s {found['gib']:6.2f} GiB"
        )


def main():
    arguments = sys.argv[1:]
    if arguments == ["storages"]:
        compare_storages()
        return
    if arguments:
        run_step(arguments[0], int(arguments[1]))
        return
    broken = False
    for what in ATTACKS:
        found = [measured(what, images) for images in SIZES]
        times, last = [f["seconds"] for f in found], found[-1]
        growth = float(np.polyfit(np.log(SIZES), np.log(times), 1)[0])
        broken |= last["seconds"] > MOST_SECONDS or last["gib"] > MOST_GIB
        broken |= math.isnan(growth) or growth > MOST_GROWTH
        print(
            f"{what:30} {last['seconds']:6.2f} s {last['gib']:5.2f} GiB, time grows with the "
            f"images to the power {growth:.2f}",
            flush=True,
        )
    print(
        f"limits {MOST_SECONDS} s, {MOST_GIB} GiB, {MOST_GROWTH}: {'broken' if broken else 'kept'}"
    )
    sys.exit(broken)


if __name__ == "__main__":
    main()
