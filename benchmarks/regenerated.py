"""Compares boards that were run again with the committed ones.

    python benchmarks/regenerated.py benchmarks/results/paper/table1.json new.json

Every mean must lie within the interval that is stated in the committed file. Exits with 1 if one
does not, or a row is missing.
"""

import json
import sys
from pathlib import Path

MEASURES = {
    "map": "interval",
    "robustness": "robustness_interval",
    "fitness": "fitness_interval",
    "d_score": "d_score_interval",
}


def rows(path):
    """Rows by what identifies them."""
    return {
        (board["dataset"], board["model"], board["protocol"], row["attack"], row["defense"]): row
        for board in json.loads(Path(path).read_text(encoding="utf-8"))
        for row in board["rows"]
    }


def main(committed, new):
    old, again = rows(committed), rows(new)
    outside = [f"missing: {' '.join(key[3:])}" for key in old.keys() - again.keys()]
    largest, compared = 0.0, 0
    for key in old.keys() & again.keys():
        for measure, interval in MEASURES.items():
            before, after = old[key][measure], again[key][measure]
            if before is None or after is None:
                continue
            compared += 1
            largest = max(largest, abs(after - before) / (1 if measure == "map" else 0.01))
            if abs(after - before) > (old[key][interval] or 0) + 1e-9:
                outside.append(f"{measure} {before:.3f} -> {after:.3f}: {' '.join(key[3:])}")
    print(f"{compared} numbers compared; largest difference {largest:.3f} points")
    print("\n".join(outside) or "all within the stated intervals")
    sys.exit(bool(outside))


if __name__ == "__main__":
    main(*sys.argv[1:])
