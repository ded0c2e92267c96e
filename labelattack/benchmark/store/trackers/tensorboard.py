"""Event files of TensorBoard."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.trackers import register
from labelattack.benchmark.store.trackers.base import (
    Tracker,
    epoch_scalars,
    hyper_parameters,
    results_of,
)
from labelattack.files.storage import expanded
from labelattack.optional import require


@register("tensorboard")
class TensorBoard(Tracker):
    """A run for each cell, with hyper-parameters and curves.

    Attributes:
        folder: Where the event files go.
    """

    folder: str = "runs"

    def record(self, record: Record) -> None:
        """Writes the cell's run."""
        writer = self._writer(str(expanded(self.folder) / record.key))
        for number, epoch in enumerate(record.epochs, 1):
            for name, value in epoch_scalars(epoch):
                writer.add_scalar(name, value, number)
        text = {key: str(value) for key, value in hyper_parameters(record).items()}
        writer.add_hparams(text, results_of(record), run_name=".")
        writer.close()

    @cached_property
    def _writer(self) -> Any:
        require("tensorboard", "tensorboard")
        return require("torch.utils.tensorboard", "tensorboard").SummaryWriter
