"""Mirrors of records in TensorBoard and MLflow."""

import pytest

from labelattack.benchmark.execution.run_cell import run_cell
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.store import trackers
from labelattack.benchmark.store.store import RecordStore
from labelattack.benchmark.store.trackers.base import Tracker, Trackers
from labelattack.errors import ParameterError, UnknownNameError
from tests.test_benchmark import cells


@pytest.fixture(scope="module")
def record():
    return run_cell(cells(seeds=(0,), lrs=(1e-2,), defenses=("an",), reference=False)[0])


def test_tensorboard_has_curves_and_results(record, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Trackers([trackers.create(f"tensorboard:folder={tmp_path}")]) as mirrors:
        mirrors.record(record)
    events = EventAccumulator(str(tmp_path / record.key))
    events.Reload()
    found = [e.value for e in events.Scalars("val_map")]
    assert found == pytest.approx([e.val_map for e in record.epochs])
    assert events.Scalars("test_map")[0].value == pytest.approx(record.test.map)


def test_mlflow_has_parameters_and_metrics(record, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    spec = f"mlflow:uri={(tmp_path / 'ml').as_uri()},experiment=x"
    with Trackers([trackers.create(spec)]) as mirrors:
        mirrors.record(record)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "ml").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("x").experiment_id])
    assert run.data.params["defense"] == record.cell.defense
    assert run.data.metrics["test_map"] == pytest.approx(record.test.map)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [m.value for m in history] == pytest.approx([e.loss for e in record.epochs])


def test_a_tracker_that_fails_costs_no_run(tmp_path):
    class Broken(Tracker):
        def record(self, record):
            raise OSError("the server is gone")

    mirrors = Trackers([Broken()])
    wanted = cells(seeds=(0,), lrs=(1e-2,), epochs=1)
    with pytest.warns(
        UserWarning, match="Broken tracker disabled after an error.*server is gone"
    ) as told:
        run_grid(wanted, RecordStore(tmp_path / "s"), finished=mirrors.record)
    assert len([w for w in told if "disabled" in str(w.message)]) == 1
    assert len(list(RecordStore(tmp_path / "s"))) == len(wanted)


def test_wrong_trackers_are_refused():
    with pytest.raises(UnknownNameError, match="unknown tracker 'tensorbord'; did you mean"):
        trackers.create("tensorbord")
    with pytest.raises(ParameterError, match="unknown parameter of tracker 'mlflow': 'url'"):
        trackers.create("mlflow:url=x")
