"""Contract of a tracker, and the parts of a record that trackers mirror."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from pydantic import BaseModel, ConfigDict

from labelattack.attacks import registry as attacks
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses
from labelattack.measures.request import measure_named


class Tracker(BaseModel, ABC):
    """A mirror of records; the store never depends on one.

    Its fields are the settings of its spec, such as ``tensorboard:folder=runs``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def record(self, record: Record) -> None:
        """Mirrors one record, as soon as it is stored."""

    def close(self) -> None:  # most have nothing to close
        """Called once, after the last record."""


class Trackers(ExitStack):
    """Several trackers; one that fails is reported once and left out, and no run is lost.

    Args:
        trackers: Closed when the context is left.
    """

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        super().__init__()
        self._trackers = list(trackers)
        for tracker in self._trackers:
            self.callback(tracker.close)

    def record(self, record: Record) -> None:
        """Hands a record to all of them."""
        for tracker in list(self._trackers):
            try:
                tracker.record(record)
            except Exception as error:
                self._trackers.remove(tracker)
                kind = type(tracker).__name__
                warnings.warn(f"{kind} tracker disabled after an error: {error}", stacklevel=2)


def run_name(record: Record) -> str:
    """Name of a run as people read it."""
    cell = record.cell
    pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
    return f"{pair}, lr {cell.recipe.rate_text()}, seed {cell.seed}"


def hyper_parameters(record: Record) -> dict[str, Any]:
    """Everything that determines a run, by name."""
    cell = record.cell
    named = {"dataset", "limit", "model", "protocol", "attack", "defense", "seed"}
    kept = cell.model_dump(include=named)
    return kept | cell.recipe.model_dump(exclude_none=True) | {"cell": record.key}


def epoch_scalars(epoch: Any) -> list[tuple[str, float]]:
    """Names and values of an epoch's curves."""
    found = [("loss", epoch.loss), ("val_map", epoch.val_map)]
    return [(name, value) for name, value in found if value is not None]


def results_of(record: Record) -> dict[str, float]:
    """Results of a run, by name."""
    found: dict[str, float | None] = {
        "test_map": record.value("map", ""),
        "seconds": record.seconds,
    }
    for name, outcome in record.outcomes.items():
        found |= {metric.name: outcome.value(metric.name) for metric in measure_named(name).metrics}
    return {name: value for name, value in found.items() if value is not None}
