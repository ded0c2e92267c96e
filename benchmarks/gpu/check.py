"""Checks and measures labelattack on a GPU; see check.sh.

    python benchmarks/gpu/check.py [--cpu] [--small] [--out FOLDER] [PART ...]

Parts: tests, agreement, heads, ranking, fine-tuning, evasion. Results are written after each, and
a part that fails is told with its reason; the exit code is then 1, as it is when something that is
wanted does not hold.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
MODULES = {
    "agreement": "agreement", "heads": "head_grid", "ranking": "ranking",
    "fine-tuning": "fine_tuning", "evasion": "attack_images",
}  # fmt: skip
PARTS = "tests", *MODULES
TESTS = HERE.parents[1] / "tests" / "test_devices.py"
HEADS = {
    "Agreement": (
        "| against the CPU | how | found | allowed | |", "| --- | --- | ---: | ---: | --- |",
    ),
    "Throughput": (
        "| measured | ours | against | theirs | share (least to greatest) | wanted | |",
        "| --- | ---: | --- | ---: | ---: | ---: | --- |",
    ),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--cpu", action="store_true", help="try the script on the CPU")
    parser.add_argument("--small", action="store_true", help="sizes at which nothing is measured")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "gpu")
    chosen = parser.parse_args()
    for name in chosen.parts:
        if name not in PARTS:
            parser.error(f"part must be one of {', '.join(PARTS)}, got '{name}'")
    import torch
    from timing import Setting

    from labelattack.training.hardware import single_thread

    if not chosen.cpu and not torch.cuda.is_available():
        parser.error("a CUDA device must be there, got none; --cpu --small tries the script")
    single_thread()
    setting = Setting(torch.device("cpu" if chosen.cpu else "cuda"), chosen.small)
    chosen.out.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(setting.device), "parts": {}}
    faults = []
    with TemporaryDirectory() as cache:
        os.environ["LABELATTACK_CACHE"] = cache
        for name in chosen.parts or PARTS:
            faults += run_part(name, setting, found["parts"], chosen.out)
            write(found, chosen.out)
    for fault in faults:
        print(f"does not hold: {fault}", file=sys.stderr)
    print((chosen.out / "results.md").read_text(encoding="utf-8"))
    return 1 if faults else 0


def run_part(name, setting, parts, folder):
    """Runs a part, and returns what does not hold in it."""
    import torch

    start, part = time.perf_counter(), {"rows": [], "lines": [], "failed": ""}
    parts[name], faults = part, []
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        if name == "tests":
            part["lines"].append(tested(setting, folder))
        else:
            for row in importlib.import_module(MODULES[name]).rows(setting):
                part["rows"].append({"kind": type(row).__name__, **asdict(row)})
                part["lines"].append(row.line())
                faults += [row.fault] * bool(row.fault)
                print(row.line(), flush=True)
    except Exception as error:  # the other parts are worth having
        part["failed"] = f"{type(error).__name__}: {error}".partition("\n")[0]
        faults.append(f"{name}: {part['failed']}")
    part["seconds"] = round(time.perf_counter() - start, 1)
    part["peak_mib"] = peak(setting.device)
    print(f"{name}: {part['seconds']} s", flush=True)
    return faults


def tested(setting, folder):
    """Runs the tests that need a GPU; says how many passed.

    Raises:
        RuntimeError: If one fails, or they cannot be run.
    """
    some = ["-k", "copies"] if setting.small else []
    report = folder / "tests.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *some,
        f"--junitxml={report}", str(TESTS),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parents[1], capture_output=True, encoding="utf-8")
    if not report.is_file():
        raise RuntimeError(f"tests could not run: {done.stderr.strip()[-300:]}")
    suite = ElementTree.parse(report).getroot().find("testsuite")
    total, failed, skipped = (int(suite.get(n)) for n in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors"))
    told = (
        f"Tests marked gpu: {total - failed - skipped} passed, {failed} failed, {skipped} skipped."
    )
    if done.returncode:
        raise RuntimeError(told)
    return told


def machine(device):
    import torch

    told = [f"{os.cpu_count()} cores", f"torch {torch.__version__}"]
    told.append(f"Python {platform.python_version()}")
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        told.insert(
            0, f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    else:
        told.insert(
            0, f"CPU ({platform.machine()}), to try the script: nothing here is a measurement"
        )
    return ", ".join(told)


def peak(device):
    from labelattack.benchmark.store.provenance import peak_memory

    return round(peak_memory(str(device)) or 0)


def write(found, folder):
    """Writes results.json and results.md."""
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    lines = [f"{found['machine']}.", ""]
    for name, part in found["parts"].items():
        memory = f"peak memory {part['peak_mib']:,} MiB"
        lines += [f"**{name}**: {part['seconds']} s, {memory}.", ""]
        if part["rows"]:
            lines += HEADS[part["rows"][0]["kind"]]
        lines += [*part["lines"], ""]
        if part["failed"]:
            lines += [f"Failed: {part['failed']}", ""]
    (folder / "results.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
