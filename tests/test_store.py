"""Stores that several processes share, and looking after them."""

import json
import multiprocessing
import os
import time

import pytest

from labelattack.benchmark.execution.leases import Leases
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.store.export import export
from labelattack.benchmark.store.maintenance import collect, findings, merge
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import ParameterError, StoreError
from labelattack.files.storage import PART
from tests.test_benchmark import cells, numbers

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "store")


def hold(folder, key, taken, lease):
    claims = Leases(folder, lease)
    assert claims.acquire(key)
    taken.set()
    time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """Starts another process that claims a cell and does not give it back."""
    started = []

    def start(key, lease=60.0):
        taken = SPAWN.Event()
        process = SPAWN.Process(target=hold, args=(tmp_path / "claims", key, taken, lease))
        process.start()
        started.append(process)
        assert taken.wait(30)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_claim_is_one_processs_until_it_is_dead(tmp_path, holder):
    other = holder("a")
    with Leases(tmp_path / "claims") as claims:
        assert claims.acquire("b") and not claims.acquire("a")
        other.kill()
        other.join()
        deadline = time.monotonic() + 10
        while not (taken := claims.acquire("a")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert taken
    assert not list((tmp_path / "claims").iterdir())


def test_a_claim_of_another_machine_expires_when_nobody_renews_it(tmp_path):
    """As a machine leaves it that lost its power: no process here has it, and none renews it."""
    folder = tmp_path / "claims"
    theirs = Leases(folder, 1.0)
    assert theirs.acquire("a")
    theirs._known["a"]._stop_heartbeat()
    text = (folder / "a.claim").read_text()
    (folder / "a.claim").write_text(text.replace("host=", "host=elsewhere-"))
    with Leases(folder, 1.0) as mine:
        began = time.monotonic()
        assert not mine.acquire("a")
        while not mine.acquire("a") and time.monotonic() < began + 20:
            time.sleep(0.1)
        assert 0.9 < time.monotonic() - began < 20


def test_claims_that_cannot_be_written_are_said(tmp_path):
    (tmp_path / "claims").write_text("a file")
    with (
        pytest.raises(StoreError, match="claim .* cannot be written"),
        Leases(tmp_path / "claims") as claims,
    ):
        claims.acquire("a")


def work(folder, wanted, log, errors):
    def finished(record):
        with log.open("a") as lines:
            lines.write(f"{record.key}\n")

    try:
        run_grid(wanted, RecordStore(folder), finished=finished)
    except BaseException as error:
        errors.put(repr(error))
        raise


def test_two_processes_share_a_grid_and_compute_nothing_twice(tmp_path):
    wanted = cells(protocol="finetune", seeds=(0, 1, 2), epochs=1, lrs=(1e-2,))
    shared, errors = tmp_path / "shared", SPAWN.Queue()
    logs = [tmp_path / "first", tmp_path / "second"]
    processes = [SPAWN.Process(target=work, args=(shared, wanted, log, errors)) for log in logs]
    for log, process in zip(logs, processes, strict=True):
        log.touch()
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0, errors.get(timeout=5)
    done = [log.read_text().split() for log in logs]
    assert sorted(done[0] + done[1]) == sorted(cell.key for cell in wanted)
    alone = RecordStore(tmp_path / "alone")
    run_grid(wanted, alone)
    assert [numbers(r) for r in alone] == [numbers(r) for r in RecordStore(shared, create=False)]
    assert not list((shared / "claims").iterdir())


def test_a_grid_waits_for_what_others_compute_and_takes_over_from_the_dead(tmp_path, holder):
    (cell, *_) = wanted = cells(seeds=(0,), lrs=(1e-2,), epochs=1, reference=False)
    store = RecordStore(tmp_path)
    other = holder(cell.key)
    told = []

    def progress(what, done, total):
        told.append((what, done, total))
        if what == "cells" and done == len(wanted) - 1:
            other.kill()
            other.join()

    assert run_grid(wanted, store, progress=progress) == len(wanted)
    assert ("cells", len(wanted) - 1, len(wanted)) in told
    assert store.get(cell.key) is not None


@pytest.fixture
def filled(store):
    run_grid(cells(seeds=(0,), lrs=(1e-2,), epochs=1), store)
    return store


def test_upkeep_finds_what_is_wrong_and_deletes_only_leftovers(filled):
    assert list(findings(filled)) == []
    records = sorted((filled.folder / "records").glob("*.json"))
    weights = sorted((filled.folder / "weights").glob("*"))
    good = records[0].read_text()
    records[0].write_text(good[:-20])
    weights[1].write_bytes(weights[1].read_bytes()[:-4])
    old, young = filled.folder / "records" / f"{PART}old", filled.folder / f"{PART}young"
    old.touch(), young.touch()
    os.utime(old, (0, 0))
    orphan = filled.folder / "weights" / "0000.safetensors"
    orphan.write_bytes(weights[0].read_bytes())
    found = {(f.kind, f.path) for f in findings(filled)}
    assert found == {
        ("damaged record", records[0]),
        ("weights without record", weights[0]),
        ("damaged weights", weights[1]),
        ("weights without record", orphan),
        ("half-written file", old),
    }
    assert {f.path for f in collect(filled, dry_run=True)} == {old} and old.exists()
    os.utime(orphan, (0, 0))
    assert {f.path for f in collect(filled)} == {old, orphan}
    assert not old.exists() and not orphan.exists() and young.exists() and weights[0].exists()


def test_merge_copies_what_is_missing_and_reports_other_numbers(filled, tmp_path):
    more = RecordStore(tmp_path / "more")
    run_grid(cells(seeds=(0, 1), lrs=(1e-2,), epochs=1), more)
    first, second, *_ = list(filled)
    changed = first.test.model_copy(update={"map": 0.123})
    filled.add(first.model_copy(update={"test": changed}))
    more.add(second.model_copy(update={"status": "failed", "test": None}))
    done = merge([filled], more)
    assert (done.copied, done.present, done.differing) == (1, 2, [first.key])
    assert numbers(more.get(first.key)) == numbers(first) and more.get(second.key) == second
    assert merge([more], filled).copied == 3
    assert len(list(filled)) == len(list(more)) == 6
    assert all(filled.weights(record.key) is not None for record in filled)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_exported_tables_hold_the_records(filled, tmp_path, suffix):
    import pandas

    export(list(filled), tmp_path / f"table{suffix}")
    read = pandas.read_csv if suffix == ".csv" else pandas.read_parquet
    table = read(tmp_path / f"table{suffix}").set_index("key")
    assert len(table) == 3
    for record in filled:
        line = table.loc[record.key]
        assert line["test.map"] == pytest.approx(record.test.map)
        assert line["cell.recipe.lr"] == record.cell.recipe.lr
    with pytest.raises(ParameterError, match=r"\.parquet or \.csv file, got .*x\.xls"):
        export(list(filled), tmp_path / "x.xls")


def test_two_processes_may_make_one_store_at_once(tmp_path):
    """The other one has begun to write the marker."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / f"{PART}0123").touch()
    RecordStore(folder)
    assert json.loads((folder / "store.json").read_text())


@pytest.mark.parametrize("create", [True, False])
def test_a_path_that_no_file_system_holds_is_said(tmp_path, create):
    with pytest.raises(StoreError, match="xxx"):
        RecordStore(tmp_path / ("x" * 5000), create=create)


def test_another_copy_of_the_data_is_refused(store):
    cell = cells()[0].model_copy(update={"fingerprint": "0123"})
    cell = type(cell)(**cell.model_dump())
    with pytest.raises(Exception, match="must have fingerprint 0123 .* got"):
        run_grid([cell], store, RunOptions())


def test_a_run_killed_while_it_writes_never_counts(filled, monkeypatch):
    """The record's name appears only when its bytes are on the disk."""
    order = []
    real_fsync, real_replace = os.fsync, type(filled.folder).replace
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("fsync") or real_fsync(fd))
    monkeypatch.setattr(
        type(filled.folder),
        "replace",
        lambda self, to: order.append("replace") or real_replace(self, to),
    )
    filled.add(next(iter(filled)))
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the folder
