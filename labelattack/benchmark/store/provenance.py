"""Under which circumstances a record was made."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from labelattack.registry.installation import commit

NUMBERS_DEPEND_ON = ("labelattack", "numpy", "pillow", "scipy", "torch", "torchvision")


def circumstances(device: str, libraries: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields of a [Record][labelattack.benchmark.store.record.Record]: where and when it was made.

    Args:
        device: What it was computed on.
        libraries: Distributions that matter beside those that matter to every run.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "libraries": _libraries(libraries),
        "commit": commit(),
        "machine": _machine(device),
        "device": device,
        "peak_memory": peak_memory(device),
    }


def peak_memory(device: str) -> float | None:
    """Most memory that this process has held so far, in MiB: the GPU's on CUDA, else resident.

    None where the platform does not tell.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@cache
def _libraries(others: tuple[str, ...]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*NUMBERS_DEPEND_ON, *others):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def _machine(device: str) -> str:
    """The GPU if it computes there, the processor, its cores and the system."""
    name = platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        models = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
        name = next(models, name)
    found = f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{torch.cuda.get_device_name(device)}; {found}" if device.startswith("cuda") else found
