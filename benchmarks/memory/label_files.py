"""Time and peak memory of reading large label files, each in a process of its own.

    python benchmarks/memory/label_files.py

A file with a line for each of 9,000,000 entries, one with a column for each of 20 classes of
1,000,000 images, and the same in the other kinds of files. Prints a table; exits 1 if one takes
more time or memory than its limits.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGES, CLASSES, ENTRIES_PER_IMAGE = 1_000_000, 20, 9
# Seconds and MiB, libraries included, of two shared cores.
LIMITS = {
    "long.csv": (60, 1024),
    "wide.csv": (30, 512),
    "wide.parquet": (30, 512),
    "wide.jsonl": (60, 512),
    "lists.csv": (30, 512),
}
LAYOUTS = {
    "long": {"kind": "long"},
    "wide": {},
    "lists": {"kind": "lists", "sep": "|", "unlisted": "unknown"},
}


def name(image):
    return f"part{image % 256:03d}/{image:012d}.jpg"


def write_long(path):
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("image_id,label,value\n")
        for image in range(IMAGES):
            for label in rng.sample(range(600), ENTRIES_PER_IMAGE):
                file.write(f"{name(image)},class {label},{label % 2}\n")


def write_wide(path):
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["image_id", *(f"class {c}" for c in range(CLASSES))]) + "\n")
        for image in range(IMAGES):
            bits = rng.getrandbits(CLASSES)
            file.write(name(image) + "".join(f",{bits >> c & 1}" for c in range(CLASSES)) + "\n")


def write_lists(path):
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("image_id,labels\n")
        for image in range(IMAGES):
            labels = "|".join(f"class {c}" for c in rng.sample(range(CLASSES), 3))
            file.write(f"{name(image)},{labels}\n")


def write_others(folder):
    """Writes the wide file again as Parquet and as JSON lines."""
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.csv.read_csv(folder / "wide.csv"), folder / "wide.parquet", row_group_size=100_000
    )
    with (folder / "wide.jsonl").open("w", encoding="utf-8") as file:
        lines = (folder / "wide.csv").open(encoding="utf-8")
        header = next(lines).rstrip().split(",")
        for line in lines:
            first, *values = line.rstrip().split(",")
            record = {header[0]: first, **dict(zip(header[1:], map(int, values), strict=True))}
            file.write(json.dumps(record) + "\n")


def write(folder):
    write_long(folder / "long.csv")
    write_wide(folder / "wide.csv")
    write_lists(folder / "lists.csv")
    write_others(folder)


def step(path):
    """Reads one file; prints seconds, peak in bytes, and the shape."""
    from labelattack.labels import Layout, read_labels

    start = time.perf_counter()
    table = read_labels(path, "binary", layout=Layout(**LAYOUTS[path.stem]))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([seconds, peak, list(table.labels.shape), len(table.labels.known_values)]))


def main():
    broken = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # A process begins with the peak of the one that starts it, so this one stays small.
        subprocess.run([sys.executable, __file__, "write", temporary], check=True)
        print("file              MiB     images x labels     known entries   seconds   peak MiB")
        for file, (longest, most) in LIMITS.items():
            path = folder / file
            command = [sys.executable, __file__, str(path)]
            said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
            seconds, peak, (images, labels), known = json.loads(said.stdout)
            print(f"{file:14} {path.stat().st_size >> 20:6} {images:11,} x {labels:5,} "
                  f"{known:17,} {seconds:9.1f} {peak >> 20:10,}")  # fmt: skip
            if seconds > longest or peak > most << 20:
                broken.append(f"{file} may take {longest} s and {most} MiB")
    print("\n".join(broken) or "all limits are kept")
    sys.exit(bool(broken))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        write(Path(sys.argv[2]))
    elif len(sys.argv) == 2:
        step(Path(sys.argv[1]))
    else:
        main()
