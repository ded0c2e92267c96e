import csv
import errno
import io
import json
import math
import os
from contextlib import contextmanager
from itertools import groupby
from math import ceil

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.attacks.base import LabelAttack
from labelattack.benchmark.boards import leaderboard
from labelattack.benchmark.execution import grouping
from labelattack.benchmark.execution import run_cell as running
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.executors.base import WorkerPool
from labelattack.benchmark.execution.run_cell import run_cell
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.execution.task import RunOptions, run_task
from labelattack.benchmark.paper import result_cards
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.report import tables
from labelattack.benchmark.report.html.provenance import failures
from labelattack.benchmark.selection import best_on_validation
from labelattack.benchmark.store.failures import failure_lines
from labelattack.benchmark.store.record import CleanScores, Record
from labelattack.benchmark.store.store import FORMAT, RecordStore
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.defenses.base import PartialLabelLoss
from labelattack.errors import ParameterError, StoreError
from labelattack.files.storage import written_whole
from labelattack.measures.d_score import Diagnosis, DScoreSettings
from labelattack.measures.request import MeasureRequest
from labelattack.metrics.average_precision import average_precision
from labelattack.training.protocols import linear
from labelattack.training.recipe import SEARCHED, Recipe, SearchSpace
from labelattack.training.validation import validation_labels
from labelattack.training.workers import worker_pool
from tests.conftest import SMALL_DIGITS


def grid(**changes):
    values = {
        "dataset": SMALL_DIGITS,
        "model": "tiny",
        "protocol": "linear",
        "attacks": ("targeted",),
        "defenses": ("an", "role"),
        "seeds": (0, 1),
        "epochs": 2,
        "lrs": (1e-2, 1e-3),
    }
    return Grid(**{**values, **changes})


def cells(**changes):
    return grid(**changes).cells(load(SMALL_DIGITS).fingerprint)


def numbers(record):
    """What must be equal in two runs of one cell: all but times and circumstances."""
    return record.model_dump(exclude={"seconds", "cpu_seconds", "created", "commit", "peak_memory"})


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "store")


def test_grid_crosses_everything_once():
    found = cells()
    assert len(found) == len({c.key for c in found}) == 2 * 2 * 3  # seeds x recipes x pairs
    assert sum(c.defense == "bce" and c.attack == "none" for c in found) == 4
    spelled_out = cells(attacks=("targeted", "targeted:rate=0.4"))
    assert len(spelled_out) == len(found)


def test_an_oracle_is_run_once_whatever_the_attack():
    found = cells(attacks=("targeted", "random"), defenses=("bce",))
    assert {c.attack for c in found} == {"none"}


def test_key_depends_on_every_part():
    base = cells()[0]
    changed = [
        base.model_copy(update={"seed": 7}),
        base.model_copy(update={"fingerprint": "x"}),
        base.model_copy(update={"selection": "clean"}),
        base.model_copy(update={"versions": {**base.versions, "attack": "2"}}),
        base.model_copy(update={"recipe": base.recipe.model_copy(update={"lr": 0.5})}),
    ]
    recipe = base.recipe
    changed += [
        base.model_copy(update={"recipe": recipe.model_copy(update={name: 0.5})})
        for name in SEARCHED
        if name not in ("lr", "batch_size")
    ]
    keys = {base.key, *(type(c)(**c.model_dump()).key for c in changed)}
    assert len(keys) == 1 + len(changed)
    # A hyper-parameter that is not used leaves the keys of earlier records as they are.
    plain = {"epochs": recipe.epochs, "lr": recipe.lr, "batch_size": recipe.batch_size}
    assert recipe.model_dump(exclude_none=True) == plain


def test_every_hyper_parameter_can_be_searched_and_is_told():
    """From a config or an option to the boards, cards and the like, without a word of its own."""
    assert list(Recipe(epochs=1, lr=1, batch_size=1).searched()) == ["lr", "batch_size"]
    for plural, name in zip(SearchSpace.model_fields, SEARCHED, strict=True):
        assert name in Recipe.model_fields
        grid = Grid(
            dataset=SMALL_DIGITS, model="tiny", attacks=("none",), defenses=("an",),
            protocol="linear", seeds=(0,), reference=False, **{plural: (3, 4)},
        )  # fmt: skip
        recipes = [cell.recipe for cell in grid.cells("x")]
        assert {getattr(recipe, name) for recipe in recipes} == {3, 4}
        assert f"{name}=3" in recipes[0].rate_text() or name in ("lr", "batch_size")


def test_a_selected_hyper_parameter_is_on_boards_cards_and_failures(store):
    wanted = cells(weight_decays=(0.5,), seeds=(0, 1), lrs=(1e-2,), epochs=1, attacks=("random",))
    run_grid(wanted, store)
    records = list(store)
    for record in records:
        row = next(
            row
            for row in leaderboard.boards(records)[0].rows
            if (row.attack, row.defense) == (record.cell.attack, record.cell.defense)
        )
        assert row.hyper_parameters == {"weight_decay": [0.5, 0.5]}
    assert "0.01 weight_decay=0.5" in tables.to_markdown(leaderboard.boards(records))
    header, *lines = csv.reader(io.StringIO(tables.to_csv(leaderboard.boards(records))))
    assert lines[0][header.index("hyper_parameters")] == "weight_decay=[0.5, 0.5]"
    card = result_cards.cards(records)[0]
    assert card.selected[0] == {"lr": 1e-2, "batch_size": 16, "weight_decay": 0.5}
    first = min(records, key=lambda record: record.cell.seed)
    failed = first.model_copy(update={"status": "failed", "reason": "disk on fire"})
    assert "lr 0.01 weight_decay=0.5, seed 0" in failure_lines([failed])[0]
    table = failures([failed])
    assert dict(zip(table["columns"], table["cells"][0], strict=True))["weight decay"] == 0.5


def test_run_is_deterministic_and_survives_the_store(store):
    cell = cells()[-1]
    first, second = run_cell(cell), run_cell(cell)
    assert numbers(first) == numbers(second)
    store.add(first)
    assert store.get(cell.key) == first


def test_test_scores_are_those_of_the_selected_epoch(monkeypatch):
    """Recomputes the reported AP from the scores that the scheduler saw."""
    seen = []
    original = running.predict
    monkeypatch.setattr(
        running, "predict", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1]
    )
    record = run_cell(cells()[-1])
    expected = average_precision(seen[-1], load(SMALL_DIGITS).test.labels)
    assert list(record.test.per_class.values()) == expected.tolist()
    best = max(range(2), key=lambda e: record.epochs[e].val_map)
    assert record.selected_epoch == best + 1


def test_every_defense_of_a_seed_sees_the_same_labels(monkeypatch):
    seen = {}

    def spy(original):
        def bind(self, task):
            seen.setdefault(task.labels.values.tobytes(), []).append(type(self).__name__)
            original(self, task)

        return bind

    for name in ("an", "role"):
        cls = defenses.registry.get(name)
        monkeypatch.setattr(cls, "bind", spy(cls.bind))
    for cell in cells(seeds=(3,), lrs=(1e-3,), reference=False):
        run_cell(cell)
    assert sorted(map(len, seen.values())) == [2]


def test_second_run_computes_nothing(store):
    assert run_grid(cells(), store) == 12
    assert run_grid(cells(), store) == 0
    assert run_grid(cells(seeds=(0, 1, 2)), store) == 6


def test_processes_give_the_same_numbers(store, tmp_path):
    run_grid(cells(), store)
    parallel = RecordStore(tmp_path / "parallel")
    run_grid(cells(), parallel, jobs=2)
    assert [numbers(r) for r in store] == [numbers(r) for r in parallel]


@pytest.fixture
def bad_loss():
    @defenses.register("bad-loss")
    class BadLoss(PartialLabelLoss):
        """Not a number from the second epoch; or raises."""

        def __init__(self, *, raises: bool = False) -> None:
            super().__init__()
            self.raises = raises

        def loss(self, logits, step):
            if self.raises:
                raise KeyError("oops")
            return logits.mean() * (math.nan if step.epoch > 1 else 1)

    yield
    del defenses.registry._classes["bad-loss"]


def test_a_failing_cell_is_recorded_and_the_grid_goes_on(store, bad_loss):
    found = cells(defenses=("bad-loss", "bad-loss:raises=true", "an"), seeds=(0,), lrs=(1e-3,))
    run_grid(found, store)
    by_defense = {r.cell.defense: r for r in store}
    assert by_defense["an"].status == "done"
    assert "got nan in epoch 2" in by_defense["bad-loss:raises=false"].reason
    assert "KeyError" in by_defense["bad-loss:raises=true"].reason
    (board,) = leaderboard.boards(store)
    row = next(r for r in board.rows if r.defense == "bad-loss:raises=false")
    assert (row.failed, row.map, row.seeds) == (1, None, 0)
    assert run_grid(found, store) == 0
    assert run_grid(found, store, retry_failed=True) == 2


def test_validation_labels_follow_the_attack():
    labels = np.random.default_rng(0).random((60, 5)) < 0.4
    ids = [str(row) for row in range(60)]
    clean = Split(ArrayImages(np.zeros((60, 4, 4), np.uint8)), labels, ids)
    targeted = validation_labels(attacks.create("targeted"), clean, "attacked", seed=0)
    assert targeted.rule == "hidden as negative" and targeted.scored is None
    assert targeted.labels.sum() < labels.sum()
    random = validation_labels(attacks.create("random"), clean, "attacked", seed=0)
    assert random.rule == "observed cells" and not random.scored.all()
    assert not (random.labels & ~random.scored).any()
    chosen = validation_labels(attacks.create("targeted"), clean, "clean", seed=0)
    assert np.array_equal(chosen.labels, labels) and chosen.rule == "clean validation labels"


def test_clean_labels_never_reach_a_defense_or_its_selection(monkeypatch):
    """Hides everything: nothing that depends on the labels can differ from all-negative data."""

    @attacks.register("all-hidden")
    class AllHidden(LabelAttack):
        """Hides all."""

        def observe(self, labels, rng):
            return np.zeros_like(labels)

    try:
        cell = cells(attacks=("all-hidden",), defenses=("an",), reference=False)[0]
        first = run_cell(cell)
        splits = load(SMALL_DIGITS)
        rng = np.random.default_rng(0)
        for split in (splits.train, splits.val):
            shuffled = split.labels[rng.permutation(len(split.labels))]
            monkeypatch.setitem(split.__dict__, "labels", shuffled)
        second = run_cell(cell)
        assert first.status == second.status == "done"
        assert (first.epochs, first.test) == (second.epochs, second.test)
    finally:
        del attacks.registry._classes["all-hidden"]


def fake(value, val, seed=0, attack="targeted", defense="an", **changes):
    base = next(
        c
        for c in cells(attacks=(attack,), defenses=(defense,), lrs=(1e-3, 1e-2))
        if c.defense.startswith(defense)
    )
    cell = base.model_copy(update={"seed": seed, **changes})
    cell = type(cell)(**cell.model_dump())
    scores = CleanScores(
        map=value, map_micro=0, map_voc_11_point=0, per_class={}, undefined_classes=0
    )
    return Record(key=cell.key, cell=cell, status="done", val_map=val, test=scores)


def test_selection_reads_validation_not_test():
    good_on_test, good_on_val = fake(0.9, 0.1), fake(0.5, 0.8)
    assert best_on_validation([good_on_test, good_on_val]) is good_on_val
    assert best_on_validation([]) is None


def test_board_numbers_against_hand_calculation():
    records = [fake(v, 0.5, seed=s) for s, v in enumerate((0.5, 0.6, 0.7))]
    records += [
        fake(v, 0.5, seed=s, attack="none", defense="bce") for s, v in enumerate((0.8, 0.8, 0.9))
    ]
    (board,) = leaderboard.boards(records)
    row = next(r for r in board.rows if r.defense == "an")
    assert row.map == pytest.approx(60)
    assert row.interval == pytest.approx(4.3027 * 10 / 3**0.5, rel=1e-3)
    assert row.to_reference == pytest.approx((-30 - 20 - 20) / 3)


def test_boards_never_mix_what_cannot_be_compared():
    records = [
        fake(0.5, 0.5),
        fake(0.6, 0.5, fingerprint="other"),
        fake(0.6, 0.5, protocol="finetune"),
        fake(0.6, 0.5, selection="clean"),
    ]
    assert len(leaderboard.boards(records)) == 4
    newer = fake(0.9, 0.5, versions={**records[0].cell.versions, "defense": "2"})
    (board,) = leaderboard.boards([records[0], newer])
    assert len(board.rows) == 2


def test_formats_agree():
    found = leaderboard.boards([fake(0.512, 0.5), fake(0.6, 0.5, seed=1)])
    as_json = json.loads(tables.to_json(found))
    assert as_json[0]["rows"][0]["map"] == pytest.approx(55.6)
    assert tables.to_csv(found).count("\n") == 2
    assert "55.6 ± " in tables.to_markdown(found)


def test_newer_store_is_refused(store):
    (store.folder / "store.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(StoreError, match=f"newer than {FORMAT}.*upgrade"):
        RecordStore(store.folder)


def test_foreign_folders_are_not_made_stores(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="holds other files"):
        RecordStore(tmp_path)
    with pytest.raises(StoreError, match=r"no store.json"):
        RecordStore(tmp_path / "none", create=False)


def test_damaged_records_are_recomputed(store):
    cell = cells()[0]
    record = run_cell(cell)
    path = store.folder / "records" / f"{cell.key}.json"
    store.add(record)
    good = path.read_text()
    for text in (good[:100], "", "{}", good.replace('"seed": 0', '"seed": 5')):
        path.write_text(text)
        with pytest.warns(UserWarning, match="damaged|another cell"):
            assert RecordStore(store.folder, create=False).get(cell.key) is None
        assert path.read_text() == text
    with pytest.warns(UserWarning, match="quarantine' now and will be computed again"):
        assert run_grid([cell], store) == 1
    (aside,) = (store.folder / "quarantine").iterdir()
    assert aside.read_text() == text
    assert numbers(store.get(cell.key)) == numbers(record)


@pytest.mark.filterwarnings("error")
def test_a_half_written_record_is_no_record(store):
    with written_whole(store.folder / "records" / "0123.json") as part:
        part.write_text("{")
        assert list(store) == []


def test_interrupt_while_a_record_is_written_leaves_no_part(store, monkeypatch):
    record = run_cell(cells()[0])

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(record)
    assert not list((store.folder / "records").iterdir())


def test_full_disk_is_said_and_leaves_no_part(store, monkeypatch):
    record = run_cell(cells()[0])

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full.*run the same command"):
        store.add(record)
    assert not list((store.folder / "records").iterdir())


QUICK_SCORE = DScoreSettings(images=20, resamples=5)


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_d_score_is_measured_later_from_stored_weights(
    store, protocol, count_training, monkeypatch
):
    wanted = cells(protocol=protocol, defenses=("an",), seeds=(0,), lrs=(1e-2,), epochs=1)
    run_grid(wanted, store)
    assert all("d-score" not in store.get(c.key).outcomes for c in wanted)
    before = {c.key: store.get(c.key) for c in wanted}
    trained = count_training()
    assert (
        run_grid(wanted, store, RunOptions(measures=MeasureRequest.of(QUICK_SCORE))) == len(wanted)
        and not trained
    )
    later = {c.key: store.get(c.key) for c in wanted}
    for key, record in later.items():
        assert record.model_copy(update={"outcomes": {}}) == before[key]
        assert record.outcomes["d-score"].settings == QUICK_SCORE
    assert (
        run_grid(wanted, store, RunOptions(measures=MeasureRequest.of(QUICK_SCORE)))
        == 0
        == run_grid(wanted, store)
    )
    monkeypatch.undo()
    at_once = run_cell(wanted[0], measures=MeasureRequest.of(QUICK_SCORE)).outcomes
    assert at_once == later[wanted[0].key].outcomes


def test_cells_without_weights_are_trained_again(store):
    (cell,) = cells(defenses=("an",), seeds=(0,), lrs=(1e-2,), epochs=1, reference=False)
    run_grid([cell], store, RunOptions(keep_weights=False))
    assert store.weights(cell.key) is None
    run_grid([cell], store, RunOptions(measures=MeasureRequest.of(QUICK_SCORE)))
    assert "d-score" in store.get(cell.key).outcomes and store.weights(cell.key)


def test_impossible_measurements_stop_before_training(store):
    wanted = cells(defenses=("an",), seeds=(0,))
    with pytest.raises(ParameterError, match="grid must be 2 to 6"):
        run_grid(wanted, store, RunOptions(measures=MeasureRequest.of(DScoreSettings(grid=20))))
    assert not list(store)


def test_damaged_weights_are_ignored(store):
    store.add_weights("abc", {"weight": torch.ones(2)})
    assert store.weights("abc")["weight"].tolist() == [1, 1]
    (store.folder / "weights" / "abc.safetensors").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="damaged"):
        assert store.weights("abc") is None


def with_scores(record, value, per_class, seed=0, diagnosis=None):
    test = CleanScores(
        map=value, map_micro=value, map_voc_11_point=value, per_class=per_class, undefined_classes=0
    )
    cell = record.cell.model_copy(update={"seed": seed})
    return record.model_copy(
        update={
            "test": test,
            "cell": cell,
            "outcomes": {"d-score": diagnosis} if diagnosis else {},
        }
    )


@pytest.fixture(scope="module")
def curve_records():
    wanted = cells(
        attacks=("targeted:rate=0.2", "targeted:rate=0.6", "single-positive"),
        defenses=("an",), seeds=(0,), lrs=(1e-2,), epochs=1,
    )  # fmt: skip
    return {c.attack.partition("rate=")[2][:3] or c.attack: run_cell(c) for c in wanted}


def test_area_and_worst_class_by_hand(curve_records):
    found = []
    for seed, fall in ((0, 0.0), (1, 0.1)):
        found += [
            with_scores(curve_records["none"], 0.8, {"a": 0.9, "b": 0.7}, seed),
            with_scores(curve_records["0.2"], 0.6 - fall, {"a": 0.5, "b": 0.7 - 2 * fall}, seed),
            with_scores(curve_records["0.6"], 0.4, {"a": 0.2, "b": None}, seed),
        ]
    (board,) = leaderboard.boards(found)
    (curve,) = board.curves
    assert curve.rates == [0.2, 0.6] and curve.maps == pytest.approx([55, 40])
    areas = [(0.2 * (1 + m / 0.8) / 2 + 0.4 * (m / 0.8 + 0.5) / 2) / 0.6 for m in (0.6, 0.5)]
    assert curve.area == pytest.approx(np.mean(areas))
    assert curve.area_interval == pytest.approx(12.7062 * np.std(areas, ddof=1) / 2**0.5, rel=1e-4)
    rows = {row.requested_rate: row for row in board.rows if row.defense.startswith("an")}
    assert (
        rows[0.2].measured["class-drops"].worst_class,
        rows[0.2].measured["class-drops"].worst_drop,
    ) == ("a", pytest.approx(40))
    assert rows[0.6].measured["class-drops"].worst_drop == pytest.approx(70)
    assert "0.2: 55.0" in tables.to_markdown([board])


def diagnosis(robust, fit, **settings):
    return Diagnosis(
        settings=DScoreSettings(**settings), rows=2, columns=2, images=9, attention=None,
        features=None, robustness=robust, fitness=fit, robustness_interval=(0.1, 0.3),
    )  # fmt: skip


def test_d_score_columns_are_means_and_never_of_mixed_measurements(curve_records):
    record = curve_records["0.2"]

    def row(*diagnoses):
        found = [with_scores(record, 0.5, {}, s, d) for s, d in enumerate(diagnoses)]
        (board,) = leaderboard.boards(found)
        return board.rows[0]

    def score(*diagnoses):
        return row(*diagnoses).measured["d-score"]

    both = score(diagnosis(0.2, 0.9), diagnosis(0.3, 0.7))
    assert both.robustness == pytest.approx(0.25) and both.fitness == pytest.approx(0.8)
    assert both.d_score == both.fitness - both.robustness
    one = score(diagnosis(0.2, 0.9))
    assert one.robustness_interval == pytest.approx(0.1)
    undefined = score(diagnosis(0.2, 0.9), diagnosis(0.3, None))
    assert undefined.fitness is undefined.d_score is None and undefined.robustness is not None
    mixed = row(diagnosis(0.2, 0.9), diagnosis(0.3, 0.7, grid=4))
    assert "d-score" not in mixed.measured
    assert "D-Score: not measured for each seed in one way" in mixed.notes
    assert "D-Score: grid=4" in row(diagnosis(0.2, 0.9, grid=4)).notes


def test_groups_hold_every_cell_once_and_share_what_they_can(monkeypatch):
    monkeypatch.setattr(linear, "heads_at_once", lambda *shape, device, processes: 12 // processes)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    found = cells(attacks=("targeted", "random"), seeds=(0, 1, 2), batch_sizes=(8, 16))
    for jobs in (1, 2, 3):
        divided = grouping.groups(found, jobs)
        assert sorted(c.key for group in divided for c in group) == sorted(c.key for c in found)
        assert max(map(len, divided)) <= 12 // jobs
        for group in divided:
            assert len({(cell.recipe.batch_size, cell.recipe.epochs) for cell in group}) == 1
            # Neighbours are of one defense, and within it of one seed.
            pairs = [(cell.defense, cell.seed) for cell in group]
            assert len(list(groupby(pairs))) == len(set(pairs))
        for size in (8, 16):
            some = [group for group in divided if group[0].recipe.batch_size == size]
            # Every process has something to do, and a defense is divided only if it must be.
            assert len(some) >= jobs
            for defense in {cell.defense for cell in found}:
                cells_of = [sum(cell.defense == defense for cell in group) for group in some]
                fewest = ceil(sum(cells_of) / (12 // jobs))
                assert sum(count > 0 for count in cells_of) == fewest
    whole = cells(protocol="finetune")
    assert [len(group) for group in grouping.groups(whole, 2)] == [1] * len(whole)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_heads_may_be_sent_to_a_device_that_is_only_elsewhere(store):
    class Elsewhere:
        on_this_machine = False

        @contextmanager
        def open(self, jobs, job, store):
            assert job.device == "cuda"
            with worker_pool(1, ()) as pool:
                yield WorkerPool(pool, lambda cells: run_task(cells, RunOptions(), store), 64)

    wanted = cells()
    assert run_grid(wanted, store, RunOptions(device="cuda"), executor=Elsewhere()) == len(wanted)
