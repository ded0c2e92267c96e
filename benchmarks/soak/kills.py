"""Kills workers at random moments and checks that nothing is lost, doubled or damaged.

    python benchmarks/soak/kills.py --kills 200

Four processes work on one store; one of them, sometimes all, gets kill -9 at a random moment and
another takes its place. Afterwards the store must hold every cell, have computed none twice, hold
no damaged file, and give the board of an uninterrupted run, byte by byte. While it runs, a record
that was there once must stay there, and never be written again. Exits with 1 otherwise. Stops by
itself after --minutes.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

DATASET = "digits:train=60,val=30,test=40"
WORKERS = 4


def cells(seeds):
    from labelattack.benchmark.execution.context import load
    from labelattack.benchmark.plan.grid import Grid

    grid = Grid(
        dataset=DATASET,
        model="tiny",
        protocol="finetune",
        attacks=("targeted", "random", "single-positive"),
        defenses=("an", "wan", "role", "pseudo-history"),
        seeds=tuple(range(seeds)),
        epochs=1,
        lrs=(1e-2,),
    )
    return grid.cells(load(DATASET).fingerprint)


def work(folder, seeds, log):
    from labelattack.benchmark.execution.scheduler import run_grid
    from labelattack.benchmark.store.store import RecordStore

    def finished(record):
        with log.open("a") as lines:  # one short write: lines of several processes do not mix
            lines.write(f"{record.key}\n")

    run_grid(cells(seeds), RecordStore(folder), finished=finished)


def board(folder):
    from labelattack.benchmark.boards.leaderboard import boards
    from labelattack.benchmark.report.tables import to_json
    from labelattack.benchmark.store.store import RecordStore

    return to_json(boards(RecordStore(folder, create=False)))


def written(folder):
    """When each record was written."""
    return {p.name: p.stat().st_mtime_ns for p in (folder / "records").glob("*.json")}


def disturbed(before, now):
    """What has become of records that were finished."""
    return [f"lost or written again: {name}" for name, _ in before.items() - now.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=80, help="13 cells each")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    rng = random.Random(told.seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["labelattack.benchmark.execution.scheduler", "sklearn.datasets"]
    )
    deadline = time.monotonic() + 60 * told.minutes
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    whole, killed, log = folder / "whole", folder / "killed", folder / "log"
    log.touch()

    def start(where=killed, lines=log):
        process = context.Process(target=work, args=(where, told.seeds, lines))
        process.start()
        return process

    began = time.monotonic()
    alone = start(whole, folder / "log of the whole")
    alone.join()
    print(f"uninterrupted: {time.monotonic() - began:.0f} s, exit {alone.exitcode}")
    wrong = [] if alone.exitcode == 0 else ["the uninterrupted run failed"]
    workers = [start() for _ in range(WORKERS)]
    seen, kills, total = {}, 0, len(cells(told.seeds))
    while time.monotonic() < deadline:
        # So many records later, at a moment between two, so that kills spread over the whole grid
        # on a fast machine as on a slow one. Some come before a worker has done anything.
        goal = len(seen) + rng.randint(
            0, max(1, 2 * (total - len(seen)) // (told.kills - kills + 1))
        )
        patience = time.monotonic() + 20
        while True:
            time.sleep(rng.random() * 0.3)
            now = written(killed)
            wrong += disturbed(seen, now)
            seen = now
            if len(seen) >= min(goal, total - WORKERS) or time.monotonic() > patience:
                break
        alive = [n for n, worker in enumerate(workers) if worker.is_alive()]
        if kills >= told.kills or not alive:
            break
        for number in alive if rng.random() < 0.05 else [rng.choice(alive)]:
            workers[number].kill()
            workers[number].join()
            kills += 1
            workers[number] = start()
    finished_at = len(seen)
    print(f"{kills} kills, the last when {finished_at} of {total} cells were finished")
    for worker in workers:
        worker.join(max(1, deadline - time.monotonic()))
        if worker.exitcode != 0:
            wrong.append(f"a worker that was not killed ended with {worker.exitcode}")
    wrong += disturbed(seen, written(killed))
    if kills < told.kills:
        wrong.append(f"only {kills} of {told.kills} kills: give it more --seeds or --minutes")

    from labelattack.benchmark.store.maintenance import findings
    from labelattack.benchmark.store.store import RecordStore

    store = RecordStore(killed, create=False)
    stored = sum(1 for _ in store)
    twice = [
        key for key, times in Counter(log.read_text(encoding="utf-8").split()).items() if times > 1
    ]
    bad = [f"{f.kind}: {f.path.name}" for f in findings(store) if "damaged" in f.kind]
    bad += [str(path.name) for path in (killed / "quarantine").glob("*")]
    same = board(killed) == board(whole)
    print(f"{stored} of {total} records; {len(twice)} computed twice; {len(bad)} damaged")
    print(f"board {'equals' if same else 'DIFFERS from'} the uninterrupted one, byte by byte")
    wrong += [f"{total - stored} cells are missing"] if stored != total else []
    wrong += [f"computed twice: {twice}"] if twice else []
    wrong += [f"damaged: {bad}"] if bad else []
    wrong += [] if same else ["the boards differ"]
    for line in wrong:
        print(f"WRONG: {line}")
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
