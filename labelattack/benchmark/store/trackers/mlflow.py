"""Runs of an MLflow server."""

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
    run_name,
)
from labelattack.optional import require


@register("mlflow")
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
        run = client.create_run(experiment, run_name=run_name(record)).info.run_id
        for key, value in hyper_parameters(record).items():
            client.log_param(run, key, str(value)[:500])
        for number, epoch in enumerate(record.epochs, 1):
            for name, value in epoch_scalars(epoch):
                client.log_metric(run, name, value, step=number)
        for name, value in results_of(record).items():
            client.log_metric(run, name, value)
        client.set_terminated(run, "FINISHED" if record.status == "done" else "FAILED")

    @cached_property
    def _client(self) -> tuple[Any, str]:
        client = require("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(self.experiment)
        return client, found.experiment_id if found else client.create_experiment(self.experiment)
