"""Which device to compute on, and with how many threads."""

from __future__ import annotations

import torch

from labelattack.errors import ParameterError


def resolve_device(name: str) -> torch.device:
    """Returns the device called ``name``; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ParameterError: If the device is unknown or not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
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


def single_thread() -> None:
    """Limits torch to one thread: small batches spend the others' time spinning.

    Parallelism comes from processes. It also makes sums independent of the number of cores.
    """
    torch.set_num_threads(1)
