"""Mirrors of records in tools that follow experiments; the store never depends on one."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from labelattack.attacks import registry as attacks
from labelattack.benchmark.store.record import Record
from labelattack.defenses import registry as defenses
from labelattack.measures.request import measure_named
from labelattack.optional import require
from labelattack.registry.parameters import settings
from labelattack.registry.spec import Spec


class Tracker(BaseModel, ABC):
    """Told of each record as soon as it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def record(self, record: Record) -> None:
        """Mirrors one record."""

    def close(self) -> None:  # most have nothing to close
        """Called once, after the last."""


class TensorBoard(Tracker):
    """A run for each cell, with hyper-parameters and curves.

    Attributes:
        folder: Where the event files go.
    """

    folder: Path = Path("runs")

    def record(self, record: Record) -> None:
        """Writes the cell's run."""
        writer = self._writer(str(self.folder / record.key))
        for number, epoch in enumerate(record.epochs, 1):
            for name, value in _curve(epoch):
                writer.add_scalar(name, value, number)
        text = {key: str(value) for key, value in _parameters(record).items()}
        writer.add_hparams(text, _results(record), run_name=".")
        writer.close()

    @cached_property
    def _writer(self) -> Any:
        require("tensorboard", "tensorboard")
        return require("torch.utils.tensorboard", "tensorboard").SummaryWriter


class MLflow(Tracker):
    """A run for each cell in an MLflow experiment.

    Attributes:
        uri: Of the tracking server, or a folder; None takes MLFLOW_TRACKING_URI.
        experiment: Name of the experiment.
    """

    uri: str | None = None
    experiment: str = "labelattack"

    def record(self, record: Record) -> None:
        """Logs the cell's run."""
        client, experiment = self._client
        run = client.create_run(experiment, run_name=_name(record)).info.run_id
        for key, value in _parameters(record).items():
            client.log_param(run, key, str(value)[:500])
        for number, epoch in enumerate(record.epochs, 1):
            for name, value in _curve(epoch):
                client.log_metric(run, name, value, step=number)
        for name, value in _results(record).items():
            client.log_metric(run, name, value)
        client.set_terminated(run, "FINISHED" if record.status == "done" else "FAILED")

    @cached_property
    def _client(self) -> tuple[Any, str]:
        client = require("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(self.experiment)
        return client, found.experiment_id if found else client.create_experiment(self.experiment)


KINDS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Trackers(ExitStack):
    """Several trackers; one that fails is reported once and left out, and no run is lost.

    Args:
        specs: Such as ``tensorboard:folder=runs``.

    Raises:
        UnknownNameError: If there is no such tracker or setting.
        ParameterError: If a value breaks its rule.
    """

    def __init__(self, specs: list[str]) -> None:
        super().__init__()
        self._told = [settings("tracker", Spec.parse(text), KINDS) for text in specs]
        for tracker in self._told:
            self.callback(tracker.close)

    def record(self, record: Record) -> None:
        """Tells all of them."""
        for tracker in list(self._told):
            try:
                tracker.record(record)
            except Exception as error:
                self._told.remove(tracker)
                kind = type(tracker).__name__
                warnings.warn(f"{kind} is told no more, as it failed: {error}", stacklevel=2)


def _name(record: Record) -> str:
    cell = record.cell
    pair = f"{defenses.short(cell.defense)} under {attacks.short(cell.attack)}"
    return f"{pair}, lr {cell.recipe.lr:g}, seed {cell.seed}"


def _parameters(record: Record) -> dict[str, Any]:
    cell = record.cell
    kept = cell.model_dump(include={"dataset", "model", "protocol", "attack", "defense", "seed"})
    return kept | cell.recipe.model_dump(exclude_none=True) | {"cell": record.key}


def _curve(epoch: Any) -> list[tuple[str, float]]:
    found = [("loss", epoch.loss), ("val_map", epoch.val_map)]
    return [(name, value) for name, value in found if value is not None]


def _results(record: Record) -> dict[str, float]:
    found: dict[str, float | None] = {
        "test_map": record.value("map", ""),
        "seconds": record.seconds,
    }
    for name, outcome in record.outcomes.items():
        found |= {metric.name: outcome.value(metric.name) for metric in measure_named(name).metrics}
    return {name: value for name, value in found.items() if value is not None}
