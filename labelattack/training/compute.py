"""Where to compute, and with how many processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labelattack.datasets.base import Progress
from labelattack.training.hardware import resolve_device


@dataclass(frozen=True)
class Compute:
    """Means of computing, which never change a number.

    Attributes:
        device: Name of the device.
        jobs: Processes for work that can be divided, such as feature extraction on the CPU.
        plugins: Plug-in files that those must load.
        progress: Called with a text, the steps done and their total.
    """

    device: str = "cpu"
    jobs: int = 1
    plugins: tuple[str, ...] = ()
    progress: Progress = lambda what, done, total: None

    @property
    def torch_device(self) -> torch.device:
        """The device.

        Raises:
            ParameterError: If it is unknown or not there.
        """
        return resolve_device(self.device)


ONE_CPU = Compute()
"""One process on the CPU that tells nobody of its progress."""
