"""What the machine has, as far as it tells: cache and memory, in bytes."""

from __future__ import annotations

from pathlib import Path

import torch

_USUAL_CACHE = 16 << 20  # where nothing tells
_USUAL_MEMORY = 4 << 30
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def last_level_cache(device: torch.device, folder: Path = Path("/sys/devices/system/cpu")) -> int:
    """Size of the largest cache: of a CUDA device as CUDA tells, of the CPU as Linux does.

    Args:
        device: Where to compute.
        folder: Where Linux describes the CPUs.
    """
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return int(getattr(properties, "L2_cache_size", _USUAL_CACHE))
    sizes = [
        path.read_text(encoding="utf-8").strip() for path in folder.glob("cpu0/cache/index*/size")
    ]
    return max((int(size[:-1]) * _UNITS[size[-1]] for size in sizes), default=_USUAL_CACHE)


def free_memory(device: torch.device) -> int:
    """Memory that is free: of a CUDA device, or, as Linux tells, of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS and Windows tell otherwise
        return _USUAL_MEMORY
    told = dict(line.split(":", 1) for line in lines)
    return int(told["MemAvailable"].split()[0]) << 10
