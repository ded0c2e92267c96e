"""Time that 10,000 records take on a terminal and as a page, for a usual and the worst shape.

python benchmarks/speed/report.py [FOLDER]

Stores are made in FOLDER, by default a temporary one, unless they are there already.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.record import CleanScores, Record, Removal
from labelattack.benchmark.store.store import FORMAT
from labelattack.training.recipe import Epoch, Recipe

CLASSES = [f"class {n}" for n in range(20)]
TERMINAL, PAGE = 3.0, 2.0  # seconds


def usual():
    """10 attacks x 10 defenses x 20 recipes x 5 seeds."""
    attacks = [f"targeted:keep_negatives=false,rate={n / 10},scope=dataset" for n in range(1, 6)]
    attacks += [f"random:rate={n / 10},scope=dataset" for n in range(1, 5)] + ["single-positive"]
    defenses = [f"pseudo-history:alpha={n / 10},beta=0.3,gamma=0.2,penalty=ones" for n in range(10)]
    recipes = [(lr, size) for lr in np.geomspace(1e-5, 1e-1, 10) for size in (8, 16)]
    yield from product(attacks, defenses, recipes, range(5))


def worst():
    """10,000 pairs of an attack and a defense with one seed each."""
    for attack, defense in product(range(100), range(100)):
        yield (
            f"targeted:keep_negatives=false,rate={attack / 1000},scope=dataset",
            f"wan:weight={defense / 100}",
            (1e-3, 16),
            0,
        )


def record(attack, defense, recipe, seed, rng):
    lr, size = recipe
    versions = dict.fromkeys(("dataset", "model", "attack", "defense"), "1")
    cell = Cell(
        dataset="digits:train=60,val=30,test=40", model="tiny", protocol="linear", attack=attack,
        defense=defense, seed=seed, selection="attacked", fingerprint="0", versions=versions,
        recipe=Recipe(epochs=10, lr=float(lr), batch_size=size),
    )  # fmt: skip
    scores = rng.random(20).tolist()
    return Record(
        key=cell.key, cell=cell, status="done", selection_rule="hidden as negative",
        removal=Removal(
            requested_rate=0.4, realised_rate=0.4, rate_of="positives", positives_removed=0.4,
            q_hat=0.9, attacked_labels="0",
        ),
        epochs=[Epoch(loss=float(x), val_map=float(x)) for x in rng.random(10)],
        selected_epoch=10, val_map=float(rng.random()),
        test=CleanScores(
            map=float(np.mean(scores)), map_micro=0.5, map_voc_11_point=0.5,
            per_class=dict(zip(CLASSES, scores, strict=True)), undefined_classes=0,
            mean_prediction=0.1, prevalence=0.1, constant_classes=0,
        ),
        seconds=1.0, cpu_seconds=1.0, created="2026-01-01T00:00:00+00:00", machine="m",
        libraries=dict.fromkeys(("labelattack", "numpy", "torch"), "1"), device="cpu",
    )  # fmt: skip


def store(folder, shape):
    """A store of the shape's records and those of the reference."""
    if not (folder / "store.json").is_file():
        rng = np.random.default_rng(0)
        (folder / "records").mkdir(parents=True)
        seeds = set()
        for cell in shape():
            for made in [cell] + [("none", "bce", (1e-3, 16), cell[3])] * (cell[3] not in seeds):
                found = record(*made, rng)
                path = folder / "records" / f"{found.key}.json"
                path.write_text(found.model_dump_json(indent=1), encoding="utf-8")
            seeds.add(cell[3])
        (folder / "store.json").write_text(f'{{"format": {FORMAT}}}', encoding="utf-8")
    return folder


def run(*arguments):
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "labelattack", *map(str, arguments)], check=True, capture_output=True
    )
    return time.perf_counter() - start


def opening(page, path):
    """Seconds until the table is there, and until the page has come to rest."""
    page.goto("about:blank")
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready] td")
    page.evaluate("() => new Promise(done => requestIdleCallback(done))")
    return page.evaluate("() => performance.now()") / 1000


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    chosen = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        print(f"{'shape':8} {'records':>8} {'show':>8} {'report':>8} {'page':>8} {'size':>8}")
        for shape in (usual, worst):
            folder = store((chosen or Path(temporary)) / shape.__name__, shape)
            count = len(list((folder / "records").iterdir()))
            show, report = (min(run(what, folder) for _ in range(2)) for what in ("show", "report"))
            path = folder / "report.html"
            opened = min(opening(page, path) for _ in range(3))
            size = path.stat().st_size / 2**20
            print(
                f"{shape.__name__:8} {count:8} {show:6.2f} s {report:6.2f} s {opened:6.2f} s "
                f"{size:5.1f} MB"
            )
        print(f"limits: show {TERMINAL} s, page {PAGE} s; the best of two and three runs")
        browser.close()


if __name__ == "__main__":
    main()
