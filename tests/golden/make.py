"""Makes the golden stores and baselines anew: ``python -m tests.golden.make``.

Only for a new format of records: what the command line makes of the stores is rewritten by
``REWRITE_GOLDEN=1 pytest tests/test_golden.py``. ``store-dd437c5`` and its baseline are of another
commit and stay: ``bench`` and ``check --update`` of that commit, then ``tidy``.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from tests.golden.miniature import make_miniature

HERE = Path(__file__).parent
DIGITS = "digits:train=120,val=60,test=60"
SMALL = "digits:bias=left,train=60,val=30,test=40"
LINEAR = ("--protocol", "linear", "--epochs", "3", "--lr", "0.01", "--seeds", "3")
PIXELS = ("--robustness", "evasion:images=20,steps=2", "--robustness", "corruption:images=20")
LOOKS = ("--d-score", "images=30,resamples=20")
RUNS = (
    (*LINEAR, "--dataset", DIGITS, *LOOKS, *PIXELS, "--bootstrap", "20",
     "--attack", "targeted:rate=0.2", "--attack", "targeted:rate=0.6", "--attack", "random:rate=0.4",
     "--defense", "an", "--defense", "pseudo-history"),
    (*LINEAR, "--seeds", "1", "--dataset", DIGITS, *LOOKS, *PIXELS, "--bootstrap", "20",
     "--attack", "targeted:rate=0.2", "--defense", "wan", "--no-reference"),
    ("--protocol", "finetune", "--epochs", "2", "--seeds", "3", "--dataset", DIGITS,
     "--lr", "0.01", "--batch-size", "16", "--micro-batch", "8",
     "--d-score", "images=20,resamples=20,grid=3,operator=delete-weight,evidence=map",
     "--attack", "targeted:rate=0.4", "--defense", "an", "--defense", "role"),
    ("--protocol", "linear", "--epochs", "3", "--seeds", "2", "--dataset", SMALL,
     "--lr", "0.01", "--lr", "0.003", "--selection", "clean", "--d-score", "none",
     "--bootstrap", "20", "--attack", "single-positive", "--defense", "wan", "--defense", "epr"),
)  # fmt: skip
TABLE = (
    "reproduce", "table3", "--scale", "small", "--model", "tiny", "--seeds", "3", "--epochs", "2",
    "--lr", "0.01",
)  # fmt: skip
LIBRARIES = {
    "python": "3.12.1", "labelattack": "0.1.0", "numpy": "2.1.0", "pillow": "11.0.0",
    "scipy": "1.15.0", "torch": "2.6.0", "torchvision": "0.21.0",
}  # fmt: skip


def tidy(store):
    """Gives every record of a store fixed circumstances in place of those of this machine."""
    for number, record in enumerate(store):
        evasion = record.evasion and record.evasion.model_copy(update={"art": "1.19.0"})
        store.add(
            record.model_copy(
                update={
                    "evasion": evasion,
                    "seconds": round(0.5 + 0.125 * number, 3),
                    "cpu_seconds": round(0.25 + 0.125 * number, 3),
                    "created": f"2026-01-02T03:{number:02}:00+00:00",
                    "libraries": LIBRARIES,
                    "commit": "0123456789abcdef0123456789abcdef01234567",
                    "machine": "Example CPU, 4 cores, Linux x86_64",
                    "device": "cpu",
                    "peak_memory": 300.0 + number,
                }
            )
        )
    shutil.rmtree(store.folder / "claims", ignore_errors=True)


def call(*arguments):
    """The command line, in this process; a failed check is no failure here."""
    from labelattack.cli import main

    sys.argv = ["labelattack", *map(str, arguments)]
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code, arguments


def named(short, spec):
    """Whether a spec is what ``targeted:rate=0.4`` or ``an`` stands for here."""
    name, _, rate = short.partition(":")
    return spec.partition(":")[0] == name and rate in spec


def of(store, attack, defense):
    """The records of a row, by seed."""
    found = [r for r in store if named(attack, r.cell.attack) and named(defense, r.cell.defense)]
    return sorted(found, key=lambda r: (r.cell.seed, r.cell.recipe.lr))


def failed(record, reason):
    """What a run that broke down leaves."""
    kept = record.model_dump(
        include={"key", "cell", "oracle", "privileged", "seconds", "cpu_seconds", "created",
                 "libraries", "commit", "machine", "device", "peak_memory"}
    )  # fmt: skip
    return Record(**kept, status="failed", reason=reason)


def of_version(record, **versions):
    """The same run by another version of something, which scored a bit less."""
    cell = record.cell.model_copy(update={"versions": record.cell.versions | versions})
    cell = type(cell)(**cell.model_dump())  # its key is another
    test = record.test.model_copy(update={"map": record.test.map - 0.03 - 0.001 * cell.seed})
    return record.model_copy(update={"key": cell.key, "cell": cell, "test": test})


def add_oddities(store):
    """What tiny runs do not give by themselves."""
    store.add(failed(of(store, "targeted:rate=0.4", "role")[2], "PluginError: loss became nan"))
    store.add(
        failed(of(store, "random", "pseudo-history")[2], "DatasetError: images were replaced")
    )
    for record in of(store, "targeted:rate=0.6", "an"):
        store.add(of_version(record, defense="2"))
    store.add(of_version(of(store, "targeted:rate=0.4", "an")[0], code="0a1b2c3d4e5f"))
    odd = of(store, "targeted:rate=0.2", "an")[1]
    changed = {"libraries": LIBRARIES | {"torch": "2.7.0"}}
    changed["fallbacks"] = ("the fused step was left: RuntimeError: no compiler",)
    store.add(odd.model_copy(update=changed))
    for record in of(store, "single-positive", "wan"):
        test = record.test.model_copy(
            update={
                "per_class": record.test.per_class | {"3": None, "5": 1.0},
                "undefined_classes": 1,
                "saturated_classes": ("5",),
                "constant_classes": 2,
            }
        )
        store.add(record.model_copy(update={"test": test}))


def perturb(baseline):
    """A baseline beside which the golden store has findings of every kind."""
    (rows,) = (
        board["rows"]
        for board in baseline["boards"]
        if board["protocol"] == "linear" and board["dataset"].startswith("digits:bias=none")
    )

    def row(attack, defense):
        return next(r for r in rows if named(attack, r["attack"]) and named(defense, r["defense"]))

    def shift(found, measure, points, scatter=0.01):
        scores = found["scores"][measure]
        for number, seed in enumerate(scores):
            scores[seed] = round(scores[seed] + points + scatter * number, 4)

    shift(row("targeted:rate=0.2", "pseudo-history"), "map", 9)  # regression
    shift(row("targeted:rate=0.2", "an"), "map", -7)  # improved
    shift(row("targeted:rate=0.6", "pseudo-history"), "map", 0.2, 0.0001)  # within tolerance
    shift(row("none", "bce"), "map", 0.3, 4)  # not told from noise
    shift(row("random", "an"), "evasion", 6)
    row("targeted:rate=0.6", "an")["versions"] = "attack 1, defense 0"
    shift(row("targeted:rate=0.6", "an"), "map", 5)  # regression of another version
    row("random", "an")["d_score"] = "version 1"  # measured in another way
    row("random", "pseudo-history")["scores"]["map"]["2"] = 30.0  # failed now
    row("random", "pseudo-history").pop("failed", None)
    del row("targeted:rate=0.6", "pseudo-history")["scores"]["corruption"]  # unknown then
    missing = json.loads(json.dumps(row("none", "bce")))
    rows.append(
        missing | {"attack": "targeted:keep_negatives=false,rate=0.9,scope=dataset"}
    )  # not run now
    baseline["boards"] = [
        board | ({"epochs": 5} if board["protocol"] == "finetune" else {})  # another board
        for board in baseline["boards"]
        if not board["dataset"].startswith("digits:bias=left")  # not in the baseline
    ]
    baseline["libraries"]["torch"] = "2.5.0"
    return baseline


def main():
    """Replaces both stores, the baselines of the first, and nothing else."""
    import labelattack.registry.installation as installation

    installation.edited_files = frozenset  # keys are those of the commit
    store, voc = HERE / "store", HERE / "store-voc"
    for folder in (store, voc):
        shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LABELATTACK_CACHE"] = f"{scratch}/cache"
        os.environ.pop("LABELATTACK_DATA", None)
        make_miniature(Path(scratch) / "data")
        os.chdir(scratch)
        for arguments in RUNS:
            call(
                "bench",
                *arguments,
                "--no-weights",
                "--device",
                "cpu",
                "--jobs",
                "1",
                "--out",
                store,
            )
        call(*TABLE, "--jobs", "1", "--out", voc)
        os.chdir(HERE)
    for folder in (store, voc):
        tidy(RecordStore(folder))
    add_oddities(RecordStore(store))
    (HERE / "baseline.json").unlink(missing_ok=True)
    measures = ("map", "robustness", "fitness", "d_score", "evasion", "corruption")
    wanted = [text for measure in measures for text in ("--measure", measure)]
    call("check", store, "--update", "--baseline", HERE / "baseline.json", *wanted)
    text = (HERE / "baseline.json").read_text(encoding="utf-8")
    perturbed = json.dumps(perturb(json.loads(text)), indent=1) + "\n"
    (HERE / "perturbed.json").write_text(perturbed, encoding="utf-8")


if __name__ == "__main__":
    main()
