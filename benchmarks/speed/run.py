"""Measures how fast everything is, as ratios of two sides that ran in turn in one process.

    python benchmarks/speed/run.py [PART ...] [--out FOLDER]

Writes a table and a plot into FOLDER (benchmarks/results/speed) after each part. Without parts, all
of them; parts that are not run keep their last figures. A library of benchmarks would time one side
after the other, and a machine that is shared drifts by more than some of these ratios in between.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = "grid", "losses", "average_precision", "attacks", "dscore", "features", "finetune"
ALL = (*PARTS, "growth")
OUT = HERE.parent / "results" / "speed"


def machine():
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (line.partition(":") for line in info.read_text(encoding="utf-8").splitlines())
        model = next((value for name, _, value in lines if name.startswith("model name")), model)
    return (
        f"{model.strip()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread a process"
    )


def draw(path, rows, series):
    """Ratios with their spread, and how time and memory grow."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(16, 0.26 * len(rows) + 2.5), width_ratios=(2, 1, 1))
    ratios, times, memory = axes
    for place, row in enumerate(reversed(rows)):
        good = row["kind"] == "speedup"
        color = "tab:blue" if good else "tab:orange"
        spread = [[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]]
        ratios.errorbar(row["ratio"], place, xerr=spread, fmt="o", color=color, capsize=3)
        if row["goal"]:
            ratios.plot(row["goal"], place, ">" if good else "<", color="black", markersize=7)
    ratios.set_yticks(
        range(len(rows)), [f"{r['what']} | {r['other']}" for r in reversed(rows)], fontsize=7
    )
    ratios.set_xscale("log")
    ratios.axvline(1, color="grey", linewidth=0.8)
    ratios.set_title(
        "blue: times as fast as the other; orange: times as long as the other\n"
        "black: what is wanted, at least or at most", fontsize=9,
    )  # fmt: skip
    for found in series:
        label = f"{found['what']} (exponent {found['exponent']:.2f})"
        times.plot(found["sizes"], found["seconds"], "o-", label=label)
        memory.plot(found["sizes"], [p / 2**20 for p in found["peaks"]], "o-", label=found["what"])
    for axis, title in ((times, "seconds"), (memory, "peak memory of the process, MiB")):
        axis.set_xscale("log")
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.04))
    times.set_yscale("log")
    memory.set_ylim(0)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def growth_lines(series):
    found = [
        "| grows with | sizes | seconds | peak memory, MiB | exponent of time | wanted | |",
        "| --- | --- | --- | --- | ---: | ---: | --- |",
    ]
    for one in series:
        numbers = (
            ", ".join(f"{size:,}" for size in one["sizes"]),
            ", ".join(f"{value:.2f}" for value in one["seconds"]),
            ", ".join(f"{value >> 20:,}" for value in one["peaks"]),
        )
        holds = "holds" if one["exponent"] <= 1.05 else "**does not hold**"
        found.append(
            f"| {one['what']} | {' | '.join(numbers)} | {one['exponent']:.2f} | ≤ 1.05 | {holds} |"
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(ALL))
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    parts = chosen.parts or ALL
    for name in parts:
        if name not in ALL:
            parser.error(f"part must be one of {', '.join(ALL)}, got '{name}'")
    sys.path.insert(0, str(HERE))
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "speed.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    from side_by_side import Row, lines

    modules = {name: importlib.import_module(name) for name in parts}  # what lacks is told at once
    for name, module in modules.items():
        start = time.perf_counter()
        found[name] = []
        for result in module.series() if name == "growth" else module.rows():
            found[name].append(asdict(result))
            print(name, json.dumps(asdict(result)), flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        found["machine"] = machine()
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        rows = [Row(**row) for part in PARTS for row in found.get(part, [])]
        series = found.get("growth", [])
        text = [f"{found['machine']}.", "", *lines(rows), "", *growth_lines(series)]
        (chosen.out / "speed.md").write_text("\n".join(text) + "\n", encoding="utf-8")
        draw(chosen.out / "speed.png", [asdict(row) for row in rows], series)
    print("\n".join(text))


if __name__ == "__main__":
    main()
