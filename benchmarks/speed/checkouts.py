"""The grid of two checkouts of this project, group by group, in turn.

    git worktree add --detach ../before COMMIT
    python benchmarks/speed/checkouts.py ../before [--rounds N] [--groups 0,5]

Prints how long this checkout takes beside the other. Two tables of run.py, made one after another,
differ by what the machine did in between: by a fifth within an hour on a shared one.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from side_by_side import lines, row

HERE = Path(__file__).resolve().parents[2]
SIDE = """
import sys, torch
from grid import cells, groups, run_cells, seconds
torch.set_num_threads(1)
parts = groups(cells())
list(run_cells(parts[0][:2]))
print(len(parts), flush=True)
for line in sys.stdin:
    took, records = seconds(lambda: list(run_cells(parts[int(line)])))
    assert all(record.status == "done" for record in records)
    print(took, flush=True)
"""


class Side:
    """A process that runs groups of the grid with the code of one checkout."""

    def __init__(self, folder):
        paths = os.pathsep.join(map(str, (folder, folder / "benchmarks" / "speed")))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SIDE], env=os.environ | {"PYTHONPATH": paths}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.groups = int(self.process.stdout.readline())

    def seconds(self, group):
        """How long the process takes for a group."""
        self.process.stdin.write(f"{group}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", default="", help="numbers of groups, 0,5; all by default")
    chosen = parser.parse_args()
    other = chosen.other.resolve()
    ours, theirs = Side(HERE), Side(other)
    groups = [int(n) for n in chosen.groups.split(",") if n] or range(ours.groups)
    for group in groups:
        times = {ours: [], theirs: []}
        for number in range(chosen.rounds):
            for side in (ours, theirs) if number % 2 else (theirs, ours):
                times[side].append(side.seconds(group))
        what = f"group {group} of the grid"
        found = row(what, other.name, times[ours], times[theirs], "cost")
        print(lines([found])[-1], flush=True)


if __name__ == "__main__":
    main()
