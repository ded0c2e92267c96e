"""The device to compute on, its threads, and the cache and memory of the machine in bytes."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from labelattack.errors import ParameterError

_log = logging.getLogger("labelattack")
_USUAL_CACHE = 16 << 20  # where nothing tells
_USUAL_MEMORY = 4 << 30
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MOST_DECODERS = 16  # threads; beyond, the interpreter's lock is what they wait for
_BFLOAT16_SINCE = 8, 0  # compute capability of CUDA devices that multiply in bfloat16
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h


def resolve_device(name: str) -> torch.device:
    """Returns the device called ``name``; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ParameterError: If the device is unknown or not there.
    """
    if name == "auto":
        kind = "mps" if torch.backends.mps.is_available() else "cpu"
        chosen = torch.device("cuda" if torch.cuda.is_available() else kind)
        _log.info("device auto: %s of this machine is taken", chosen)
        return chosen
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ParameterError(
            f"device must be auto, cpu, or a cuda or mps device of this machine, got '{name}': "
            f"{reason}"
        ) from error
    return device


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor of the CPU to a device; to a GPU without waiting for what it computes.

    Args:
        tensor: On the CPU; must stay as it is until the copy is used.
        device: Where to; the CPU copies nothing.
    """
    if device.type != "cuda":
        return tensor.to(device)
    # From memory that may be paged out, a copy waits until the device has nothing left to do.
    return tensor.pin_memory().to(device, non_blocking=True)


def decoding_threads(device: torch.device) -> int:
    """Threads that decode images for a network on a device.

    One for the CPU, where each core has a process that computes; for others one a core, as a GPU
    trains on more images a second than a core decodes.
    """
    return 1 if device.type == "cpu" else min(os.cpu_count() or 1, _MOST_DECODERS)


@contextmanager
def reduced_precision(device: torch.device) -> Iterator[None]:
    """Multiplies in bfloat16 within the block, on CUDA devices that have it; float32 elsewhere.

    Older ones emulate it, which is slower than float32.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE:
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        yield


def single_thread() -> None:
    """Makes a process of ours fit to compute: one thread, and memory kept for the next tensor.

    Small batches spend the time of several threads spinning. Parallelism comes from processes; it
    also makes sums independent of the number of cores. Convolutions on CUDA are repeatable, and
    in float32 where that is asked for: by default they round to 10 bits (TF32).
    """
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    if _rounds_convolutions():
        torch.backends.cudnn.allow_tf32 = False
    _log.debug("process %d computes with one thread", os.getpid())
    _keep_memory()


@contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Gives a process back with the threads and precision it had: a notebook does other work."""
    threads, repeatable = torch.get_num_threads(), torch.backends.cudnn.deterministic
    rounds = _rounds_convolutions()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = repeatable
        if rounds is not None:
            torch.backends.cudnn.allow_tf32 = rounds


def _rounds_convolutions() -> bool | None:
    """Whether convolutions of float32 round to TF32; None where torch does not tell.

    It refuses to where somebody has set it by its newer names, and then it is their choice.
    """
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def _keep_memory() -> None:
    """Lets glibc keep what large tensors leave free; other C libraries are not touched.

    It gives them back to the kernel, which clears every page of the next one anew: half of the time
    of a forward pass. Those of 256 MiB and more still go back, as gaps between them would add up to
    half of the peak, and so does what is free at the end beyond 1 GiB.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_TRIM_THRESHOLD, 1 << 30)
    if not libc.mallopt(_MMAP_THRESHOLD, 1 << 28):  # older ones refuse more than 32 MiB
        libc.mallopt(_MMAP_MAX, 0)


def last_level_cache(folder: Path = Path("/sys/devices/system/cpu")) -> int:
    """Size of the CPU's largest cache, as Linux tells.

    Args:
        folder: Where it describes the CPUs.
    """
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
