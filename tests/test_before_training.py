"""What can be known before training is said before, once; what is finished is kept."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from labelattack import datasets
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.scheduler import run_grid, run_selected
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets.images import FileImages
from labelattack.errors import DatasetError, LabelAttackError, StoreError
from labelattack.measures.evasion import EvasionSettings
from labelattack.measures.request import MeasureRequest
from labelattack.training.protocols import base as protocol_module
from tests.conftest import SMALL_DIGITS

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def photos(tmp_path):
    """Twenty pictures of 16 x 16 pixels in a folder, two classes, and splits by position."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines, splits = ["image_id,cat,dog"], ["image_id,split"]
    for i in range(20):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.bmp")
        lines.append(f"{i}.bmp,{i % 2},{(i // 2) % 2}")
        splits.append(f"{i}.bmp,{'train' if i < 10 else 'val' if i < 14 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "splits.csv").write_text("\n".join(splits))
    spec = f"table:labels={tmp_path}/labels.csv,images={folder},splits={tmp_path}/splits.csv"
    return SimpleNamespace(root=tmp_path, folder=folder, spec=spec)


TINY = ("--model", "tiny", "--epochs", "1", "--seeds", "1", "--jobs", "1", "--d-score", "none")


def bench(spec, *arguments):
    return "bench", "--dataset", spec, *TINY, *arguments


def grid_of(dataset, protocol="finetune", **changes):
    shared = {"attacks": ("none",), "defenses": ("an", "wan"), "seeds": (0,), "epochs": 1,
              "reference": False, "lrs": (1e-3,), "batch_sizes": (8,)}  # fmt: skip
    load.cache_clear()
    grid = Grid(dataset=dataset, model="tiny", protocol=protocol, **(shared | changes))
    return grid.cells(load(str(datasets.registry.resolve(dataset))).fingerprint)


# --- images


def test_an_unreadable_test_image_is_found_before_anything_trains(photos, told):
    path = photos.folder / "17.bmp"
    path.write_bytes(path.read_bytes()[:100])
    (photos.folder / "18.bmp").write_bytes(b"<html>")
    code, _, err = told(*bench(photos.spec))
    assert code == 2 and "17.bmp" in err and "1 more" in err
    assert not list(RecordStore(photos.root / "results"))
    code, out, err = told("data", "check", photos.spec, "--json")
    assert code == 1 and "17.bmp" in out


def test_images_of_several_sizes_are_found_before_anything_trains(photos, told):
    Image.new("RGB", (20, 10)).save(photos.folder / "19.bmp")
    code, _, err = told(*bench(photos.spec))
    assert code == 2 and "one size" in err and "10 x 20, 16 x 16" in err
    assert not list(RecordStore(photos.root / "results"))


def test_images_are_decoded_once_for_all_runs(photos, told, monkeypatch):
    assert told(*bench(photos.spec))[0] == 0
    decoded = []
    monkeypatch.setattr(
        "labelattack.datasets.images.decoded", lambda path: decoded.append(path.name)
    )
    code, _, err = told(*bench(photos.spec))
    assert code == 0 and "nothing to compute" in err and not decoded


def test_images_replaced_by_others_of_equal_size_are_other_data(photos, told):
    keys = [cell.key for cell in grid_of(photos.spec)]
    path = photos.folder / "3.bmp"
    content, about = path.read_bytes(), path.stat()
    path.write_bytes(content[:-3] + b"\1\2\3")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # as ``cp -p`` and ``rsync -t`` do
    assert not {cell.key for cell in grid_of(photos.spec)} & set(keys)
    path.write_bytes(content)
    assert [cell.key for cell in grid_of(photos.spec)] == keys


def test_images_replaced_between_two_commands_of_one_process_are_other_data(photos, told):
    assert told(*bench(photos.spec))[0] == 0
    path = photos.folder / "3.bmp"
    path.write_bytes(path.read_bytes()[:-3] + b"\1\2\3")
    _, _, err = told(*bench(photos.spec))
    assert "computed 2 of 2 cells" in err


def test_unchanged_images_are_read_once_to_be_told_apart(photos, monkeypatch):
    for path in photos.folder.iterdir():
        os.utime(path, ns=(0, 0))
    # Times of inodes cannot be set back, so the clock is set forward.
    monkeypatch.setattr("labelattack.files.content._TICK", -(10**18))
    names = [path.name for path in photos.folder.iterdir()]
    first = FileImages(photos.folder, names).fingerprint()
    monkeypatch.setattr("labelattack.files.content._digest", lambda path: pytest.fail("read again"))
    assert FileImages(photos.folder, names).fingerprint() == first


def test_cached_features_are_of_the_images_that_are_there(photos):
    from labelattack.models import registry as models
    from labelattack.training.feature_cache import features

    def extract():
        split = datasets.create(photos.spec).load().train
        return np.array(features(split, models.resolve("tiny"))["features"])

    before = extract()
    path = photos.folder / "3.bmp"
    path.write_bytes(path.read_bytes()[:-300] + bytes(300))
    changed = ~np.isclose(before, extract()).all(axis=1)
    assert np.flatnonzero(changed).tolist() == [3]


def test_images_replaced_while_they_are_read_give_no_features(photos, monkeypatch):
    from labelattack.models import registry as models
    from labelattack.training import feature_cache as module

    split = datasets.create(photos.spec).load().train
    extract = module._extract

    def replaced(*arguments):
        yield from extract(*arguments)
        (photos.folder / "3.bmp").write_bytes((photos.folder / "4.bmp").read_bytes())

    monkeypatch.setattr(module, "_extract", replaced)
    with pytest.raises(DatasetError, match="replaced"):
        module.features(split, models.resolve("tiny"))
    monkeypatch.undo()


def test_images_replaced_while_a_run_lasts_fail_it(photos, tmp_path):
    store = RecordStore(tmp_path / "store")
    content = (photos.folder / "4.bmp").read_bytes()

    def replace(record):
        (photos.folder / "3.bmp").write_bytes(content)

    assert run_grid(grid_of(photos.spec), store, finished=replace) == 2
    done = [record for record in store if record.status == "done"]
    (failed,) = (record for record in store if record.status == "failed")
    assert len(done) == 1 and "were replaced" in failed.reason


def test_an_edited_annotation_with_boxes_is_other_data(tmp_path):
    from labelattack.datasets.base import Split
    from labelattack.datasets.images import ArrayImages
    from labelattack.datasets.voc import VocBoxes

    path = tmp_path / "a.xml"

    def fingerprint(content):
        path.write_text(content)
        images = ArrayImages(np.zeros((1, 4, 4), np.uint8))
        return Split(images, np.ones((1, 1), bool), ["a"], boxes=VocBoxes([path])).fingerprint

    assert fingerprint("<a/>") != fingerprint("<b/>")
    assert fingerprint("<a/>") == fingerprint("<a/>")


# --- losses, labels, recipes


def test_a_loss_that_lacks_the_number_of_positives_is_refused_before_once(photos, told):
    code, _, err = told(
        *bench(photos.spec), "--defense", "an", "--defense", "role", "--defense", "epr",
        "--seeds", "3", "--lr", "0.1", "--lr", "0.01",
    )  # fmt: skip
    assert code == 2 and err.count("needs the expected number of positives") == 1
    assert not list(RecordStore(photos.root / "results"))


def test_equal_reasons_of_failed_runs_are_counted(told, tmp_path):
    (tmp_path / "bad.py").write_text(
        "from labelattack import PartialLabelLoss, defenses\n"
        "@defenses.register('bad')\n"
        "class Bad(PartialLabelLoss):\n"
        "    def loss(self, logits, step): raise RuntimeError('on purpose')\n"
    )
    code, _, err = told(
        *bench(SMALL_DIGITS), "--plugin", "bad.py", "--defense", "bad", "--seeds", "3", "--lr", "0.1",
        "--lr", "0.01",
    )  # fmt: skip
    assert code == 1 and err.count("on purpose") == 1 and "5 more runs" in err


def labelled(photos, val, train=None, test=None, third=False):
    """The dataset with columns of other labels in some splits, and perhaps a column of both."""
    lines = ["image_id,cat,dog" + ",cow" * third]
    for i in range(20):
        of = train if i < 10 else val if i < 14 else test
        lines.append(f"{i}.bmp,{of or f'{i % 2},{(i // 2) % 2}'}" + f",{i % 2}" * third)
    (photos.root / "labels.csv").write_text("\n".join(lines))


def test_validation_labels_without_a_positive_cannot_choose_a_recipe(photos, told):
    labelled(photos, "0,0")
    code, _, err = told(*bench(photos.spec), "--lr", "0.1", "--lr", "0.01")
    assert code == 2 and "to choose among 2 recipes" in err
    assert not list(RecordStore(photos.root / "results"))
    code, out, err = told(*bench(photos.spec), "--lr", "0.1")
    assert code == 0 and "no positive in val" in err
    out = " ".join(out.split())
    assert "chosen on validation labels" not in out and "nothing to choose by" in out


def test_an_attack_that_leaves_nothing_to_choose_by_is_told(tmp_path):
    store = RecordStore(tmp_path / "store")
    cells = grid_of(SMALL_DIGITS, "linear", attacks=("targeted:rate=1",), lrs=(1e-2, 1e-3))
    run_grid(cells, store)
    assert {record.selection_rule for record in store} == {
        "nothing to choose by: no positive among them"
    }
    (board,) = boards(store)
    for row in board.rows:
        assert any("the first of 2 recipes are taken, not chosen" in r for r in row.unreliable)


def test_classes_that_cannot_choose_or_be_scored_are_told(photos):
    labelled(photos, "1,0", test="1,0", third=True)
    notes = " | ".join(datasets.create(photos.spec).load().warnings)
    assert "no positive in val for 1 classes: dog" in notes
    assert "no positive in test for 1 classes: dog" in notes
    assert "no negative in test for 1 classes: cat; their AP is undefined" in notes


def test_boards_say_which_classes_do_not_count(photos, told):
    labelled(photos, "1,0", test="1,0", third=True)
    _, out, _ = told(*bench(photos.spec))
    assert (
        "mAP leaves out 2 classes without a positive or without a negative in test: cat, dog"
        in (" ".join(out.split()))
    )


# --- what stops a run in its middle


def test_what_a_group_had_finished_is_kept_when_it_is_stopped(tmp_path, monkeypatch):
    store = RecordStore(tmp_path / "store")
    cells = grid_of(SMALL_DIGITS, "linear", seeds=(0, 1))
    kept = []

    def full(self, key, state):
        kept.append(key)
        if len(kept) == 3:
            raise StoreError("the disk is full")

    monkeypatch.setattr(RecordStore, "add_weights", full)
    with pytest.raises(StoreError, match="full"):
        run_grid(cells, store)
    assert len(list(store)) == 2
    monkeypatch.undo()
    assert run_grid(cells, store) == 2


def test_an_image_that_fails_later_fails_the_cells_that_need_it(tmp_path, monkeypatch):
    fit = protocol_module.fit

    def hiccup(network, loss, *arguments, **named):
        if type(loss).__name__ == "AssumeNegative":
            raise DatasetError("image 'a.jpg' cannot be read: Input/output error")
        return fit(network, loss, *arguments, **named)

    monkeypatch.setattr(protocol_module, "fit", hiccup)
    store = RecordStore(tmp_path / "store")
    assert run_grid(grid_of(SMALL_DIGITS), store) == 2
    found = {record.cell.defense.partition(":")[0]: record for record in store}
    assert found["wan"].status == "done"
    assert found["an"].status == "failed" and "a.jpg" in found["an"].reason


def test_a_group_that_is_stopped_waits_for_the_others(tmp_path, monkeypatch):
    """What runs beside it finishes and is stored; nothing new is begun."""
    from concurrent.futures import Future
    from contextlib import contextmanager

    from labelattack.benchmark.execution import scheduler
    from labelattack.benchmark.execution.executors import base, local
    from labelattack.benchmark.execution.task import run_on_store

    class Pool:
        def submit(self, call, group):
            future = Future()
            pending.append((future, call, group))
            return future

    pending = []

    @contextmanager
    def two(self, jobs, job, store):
        yield base.WorkerPool(Pool(), lambda group: run_on_store(group, job, store.folder), 2)

    def some_done(running, **_):
        future, call, group = pending.pop(0)
        if not future.done() and group[0].seed == 0:
            future.set_exception(LabelAttackError("stopped"))
        else:
            future.set_result(call(group))
        return SimpleNamespace(done={future})

    monkeypatch.setattr(local.Local, "open", two)
    monkeypatch.setattr(scheduler, "wait", some_done)
    store = RecordStore(tmp_path / "store")
    cells = grid_of(SMALL_DIGITS, seeds=(0, 1, 2, 3, 4, 5), defenses=("an",))
    with pytest.raises(LabelAttackError, match="stopped"):
        run_grid(cells, store, jobs=2)
    assert 1 <= len(list(store)) < 5 and not pending


def test_a_measure_of_selected_runs_that_cannot_be_taken_stops_training(tmp_path, monkeypatch):
    """Also where several recipes are searched, and it is taken after all of them are trained."""

    def missing(self, setup):
        raise LabelAttackError("ART must be installed")

    trained = []
    monkeypatch.setattr(EvasionSettings, "prepare", missing)
    monkeypatch.setattr(protocol_module, "fit", lambda *_, **__: trained.append(1))
    store = RecordStore(tmp_path / "store")
    cells = grid_of(SMALL_DIGITS, lrs=(1e-3, 1e-2))
    request = MeasureRequest.of(EvasionSettings())
    assert request.of_every_run() != request
    with pytest.raises(LabelAttackError, match="ART must be installed"):
        run_selected(cells, store, RunOptions(measures=request))
    assert not trained and not list(store)
