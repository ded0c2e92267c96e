"""Labels of which some are not known to begin with: storage, attacks, metrics, selection."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from labelattack import attacks, defenses
from labelattack.attacks.base import LabelAttack
from labelattack.attacks.manifest import manifest
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.run_cell import run_cell
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.report.tables import remarks
from labelattack.datasets.base import Split, Splits
from labelattack.datasets.images import ArrayImages
from labelattack.defenses.base import Task, to_step
from labelattack.errors import DatasetError, LabelError
from labelattack.labels import PartialLabels
from labelattack.labels.storage import Dense, Sparse
from labelattack.measures.clean_scores import score
from labelattack.metrics.average_precision import average_precision, mean_average_precision
from labelattack.training.validation import validation_labels

SPECS = (
    "none", "single-positive", "random:rate=0.4", "random:rate=0.4,scope=image",
    "targeted:rate=0.4", "targeted:rate=0.4,scope=image", "targeted:rate=0.3,keep_negatives=true",
)  # fmt: skip


def draw(images, labels, known, seed):
    """Values and mask of a made-up matrix."""
    rng = np.random.default_rng(seed)
    return rng.random((images, labels)) < 0.4, rng.random((images, labels)) < known


def listed(values, observed, seed=0):
    """The same labels, given as entries in any order."""
    rows, columns = np.nonzero(observed)
    order = np.random.default_rng(seed).permutation(len(rows))
    rows, columns = rows[order], columns[order]
    return PartialLabels.from_entries(values.shape, rows, columns, values[rows, columns])


def a_split(values, known, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (len(values), 6, 6), dtype=np.uint8)
    return Split(
        ArrayImages(pixels), values, [f"{seed}-{row}" for row in range(len(values))], known
    )


@given(
    st.integers(0, 30), st.integers(1, 20), st.sampled_from([0, 0.1, 0.3, 0.9, 1]), st.integers(0, 99)
)  # fmt: skip
def test_a_list_of_entries_is_the_matrix(images, labels, share, seed):
    values, observed = draw(images, labels, share, seed)
    dense, entries = PartialLabels(values, observed), listed(values, observed, seed)
    few = observed.sum() * 2 + 8 * (images + 1) < 2 * values.size
    assert isinstance(dense._entries, Dense) and isinstance(
        entries._entries, Sparse if few else Dense
    )
    assert dense == entries and dense.digest() == entries.digest() and repr(dense) == repr(entries)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, images, 7) if images else np.zeros(0, int)
    which = rng.random(dense.known) < 0.5
    for one, other in (
        (dense, entries), (dense.keep(which), entries.keep(which)), (dense.take(rows), entries.take(rows)),
    ):  # fmt: skip
        assert one == other
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.observed, other.observed)
        assert np.array_equal(one.negatives, one.observed & ~one.values)
        assert (one.known, one.is_complete) == (other.known, other.is_complete)
    for given_, counted in ((None, observed), ("positives", observed & values)):
        for labels_ in (dense, entries):
            assert np.array_equal(labels_.per_image(given_), counted.sum(1))
            assert np.array_equal(labels_.per_class(given_), counted.sum(0))
    for labels_ in (dense, entries):
        assert np.array_equal(labels_.at_known(~values), ~values[observed])
        columns = rng.permutation(labels)
        expected = PartialLabels(values[:, columns], observed[:, columns])
        assert labels_.take_classes(columns) == expected
        assert labels_.known_positives == (values & observed).sum()
    spread = np.zeros_like(observed)
    spread[observed] = which
    assert np.array_equal(entries.per_class(which), spread.sum(0))
    assert np.array_equal(dense.per_image(which), entries.per_image(which))


def test_large_lists_are_packed_in_blocks(monkeypatch):
    monkeypatch.setattr("labelattack.labels.storage._CELLS", 64)
    values, observed = draw(50, 7, 0.1, 3)
    dense, entries = PartialLabels(values, observed), listed(values, observed)
    for name in ("values", "observed"):
        assert len(list(entries.packed(name))) > 5
        assert b"".join(entries.packed(name)) == b"".join(dense.packed(name))


def test_entries_are_refused():
    at, true = np.array([0, 2, 0]), np.ones(3, bool)
    with pytest.raises(LabelError, match=r"listed once, got row 0, column 1 twice .1 such"):
        PartialLabels.from_entries((3, 4), at, np.array([1, 1, 1]), true)
    with pytest.raises(LabelError, match=r"columns of entries must be in 0..3, got 4"):
        PartialLabels.from_entries((3, 4), at, np.array([1, 4, 2]), true)
    with pytest.raises(LabelError, match=r"rows of entries must be in 0..1, got 2"):
        PartialLabels.from_entries((2, 4), at, np.array([1, 3, 2]), true)


@given(st.sampled_from(SPECS), st.integers(0, 40), st.integers(1, 9), st.integers(0, 99))
def test_attacks_act_within_what_is_known(spec, images, labels, seed):
    values, observed = draw(images, labels, 0.3, seed)
    before = PartialLabels(values, observed)
    left = attacks.create(spec)(before, seed=seed)
    assert left == attacks.create(spec)(listed(values, observed), seed=seed)
    assert not (left.observed & ~observed).any()
    assert np.array_equal(left.values, values & left.observed)
    positives, lost = before.per_class("positives").sum(), before.known - left.known
    if spec == "none":
        assert lost == 0
    elif spec == "random:rate=0.4":
        assert lost == round(0.4 * before.known)
    elif spec == "targeted:rate=0.4":
        assert left.known == left.values.sum() == positives - round(0.4 * int(positives))
    elif spec == "targeted:rate=0.3,keep_negatives=true":
        assert (
            lost == round(0.3 * int(positives)) and left.negatives.sum() == before.negatives.sum()
        )
    elif spec == "single-positive":
        assert np.array_equal(left.per_image(), np.minimum(before.per_image("positives"), 1))


@given(st.sampled_from(SPECS), st.integers(1, 20), st.integers(0, 99))
def test_manifests_count_known_labels(spec, images, seed):
    """Against a loop over the entries."""
    values, observed = draw(images, 5, 0.5, seed)
    before = PartialLabels(values, observed)
    attack = attacks.create(spec)
    left = attack(before, seed=seed)
    found = manifest(attack, spec, seed, before, left)
    entries = [(i, c) for i in range(images) for c in range(5) if observed[i, c]]
    gone = [(i, c) for i, c in entries if not left.observed[i, c]]
    positive = [(i, c) for i, c in entries if values[i, c]]
    assert found.unknown == images * 5 - len(entries)
    assert (found.positives, found.negatives) == (len(positive), len(entries) - len(positive))
    assert found.removed_positives == sum(bool(values[i, c]) for i, c in gone)
    assert found.removed_negatives == sum(not values[i, c] for i, c in gone)
    assert found.removed_per_image == [sum(i == row for row, _ in gone) for i in range(images)]
    assert found.removed_per_class == [
        (sum(c == k and bool(values[i, k]) for i, k in gone), sum(c == k and not values[i, k] for i, k in gone))
        for c in range(5)
    ]  # fmt: skip
    assert found.q_hat == (len(gone) / len(entries) if entries else None)
    emptied = [i for i, _ in positive if not left.values[i].any()]
    assert found.emptied_images == len(set(emptied))


class OnMatrix(LabelAttack):
    """Drops the first class, written for complete labels."""

    def observe(self, labels, rng):
        kept = np.ones_like(labels)
        kept[:, 0] = False
        return kept


class OnEntries(LabelAttack):
    """Drops the negatives."""

    def keep(self, labels, rng):
        return labels.known_values.copy()


def test_an_attack_sees_the_matrix_or_the_entries():
    values, observed = draw(20, 4, 0.5, 1)
    left = OnMatrix()(PartialLabels(values, observed), seed=0)
    assert np.array_equal(left.observed, observed & (np.arange(4) > 0))
    assert np.array_equal(OnEntries().observe(values, np.random.default_rng(0)), values)
    assert OnEntries()(PartialLabels(values, observed), seed=0).negatives.sum() == 0
    with pytest.raises(TypeError, match="observe"):
        type("Neither", (LabelAttack,), {})()


# --- splits


def test_a_split_says_what_is_known():
    values, known = draw(12, 3, 0.5, 2)
    split = a_split(values, known)
    assert np.array_equal(split.labels, values & known) and np.array_equal(split.known, known)
    assert np.array_equal(split.counted, known) and not split.positive_only
    assert split.known_share == known.mean()
    positives, negatives = split.class_counts
    assert np.array_equal(positives, (values & known).sum(0))
    assert np.array_equal(negatives, (~values & known).sum(0))
    assert a_split(values, np.ones_like(known)).known is None
    rows = np.array([5, 2])
    assert np.array_equal(split.take(rows).known, known[rows])


def test_what_is_not_known_cannot_be_read():
    """Other values where nothing is known are the same data."""
    values, known = draw(12, 3, 0.5, 2)
    assert a_split(values, known).fingerprint == a_split(values ^ ~known, known).fingerprint
    assert a_split(values, known).fingerprint != a_split(values, None).fingerprint


def test_positive_only_labels_count_the_rest_as_negative():
    values, _ = draw(12, 3, 0.5, 2)
    split = a_split(values, values)
    assert split.positive_only and split.counted is None
    assert np.array_equal(split.class_counts[1], (~values).sum(0))
    splits = Splits("abc", split, a_split(values, values, 1), a_split(values, values, 2))
    told = " | ".join(splits.warnings)
    assert "no negative is known in test: unknown entries count as negative there" in told


def test_scores_on_positive_only_labels_say_so():
    values, _ = draw(50, 3, 0.5, 6)
    scores = np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
    found = score(scores, a_split(values, values), ["a", "b", "c"])
    assert found.map == pytest.approx(average_precision_score(values, scores))
    assert (found.counted_share, found.assumed_share) == (None, pytest.approx(1 - values.mean()))
    assert score(scores, a_split(values, None), ["a", "b", "c"]).assumed_share is None


def test_test_labels_must_have_something_to_rank():
    values = np.array([[1, 0], [1, 0], [1, 0]], bool)
    full = np.ones_like(values)
    with pytest.raises(DatasetError, match="a class with a known positive and a known negative"):
        Splits("ab", a_split(values, full), a_split(values, full, 1), a_split(values, full, 2))


# --- metrics


@given(st.integers(1, 60), st.integers(0, 99))
def test_masked_average_precision_is_of_the_known_entries(images, seed):
    values, known = draw(images, 4, 0.6, seed)
    scores = np.random.default_rng(seed).normal(size=values.shape)
    found = average_precision(scores, values & known, scored=known)
    for column in range(4):
        truth, there = values[known[:, column], column], scores[known[:, column], column]
        if truth.any() and not truth.all():
            assert found[column] == pytest.approx(average_precision_score(truth, there))
        else:
            assert np.isnan(found[column])


def test_a_random_mask_leaves_map_where_it_is():
    """Its mean over draws is the mAP of all labels; unknown as negative is far from it."""
    rng = np.random.default_rng(0)
    labels = rng.random((1500, 6)) < 0.2
    scores = labels + rng.normal(size=labels.shape)
    full = mean_average_precision(scores, labels)
    masks = [rng.random(labels.shape) < 0.4 for _ in range(40)]
    masked = [mean_average_precision(scores, labels, scored=mask) for mask in masks]
    negative = [mean_average_precision(scores, labels & mask) for mask in masks]
    error = np.std(masked, ddof=1) / np.sqrt(len(masks))
    assert abs(np.mean(masked) - full) < 4 * error + 0.005
    assert np.mean(negative) < full - 0.1


def test_scores_count_known_entries():
    values, known = draw(200, 4, 0.5, 4)
    known[:, 3] = values[:, 3]  # no negative is known there
    scores = np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
    found = score(scores, a_split(values, known), ["a", "b", "c", "d"])
    each = [
        average_precision_score(values[known[:, c], c], scores[known[:, c], c]) for c in range(3)
    ]
    assert found.map == pytest.approx(np.mean(each)) and found.per_class["d"] is None
    assert (found.undefined_classes, found.undefined) == (1, ["d"])
    assert found.counted_share == known.mean()
    assert found.prevalence == pytest.approx(values[known].mean())


# --- selection


def test_selection_sees_known_entries_alone():
    values, known = draw(200, 4, 0.5, 5)
    split = a_split(values, known)
    rules = {
        "none": "nothing hidden", "random:rate=0.4": "observed cells", "targeted:rate=0.4": "hidden as negative",
    }  # fmt: skip
    for spec, rule in rules.items():
        chosen = validation_labels(attacks.create(spec), split, "attacked", seed=0)
        assert chosen.rule == rule
        if chosen.scored is not None:
            assert not (chosen.scored & ~known).any()
        assert not (chosen.labels & ~(values & known)).any()
    chosen = validation_labels(attacks.create("random"), split, "clean", seed=0)
    assert chosen.rule == "known validation labels" and np.array_equal(chosen.scored, known)


# --- a run


@pytest.fixture
def partial_digits(monkeypatch):
    """Digits with 60 % of the entries unknown in every split, and one class only positive in test."""
    full = load("digits:train=60,val=30,test=40")

    def hide(split, seed):
        known = np.random.default_rng(seed).random(split.labels.shape) < 0.4
        if seed == 2:
            known[:, 9] = split.labels[:, 9]
        return Split(split.images, split.labels, split.ids, known)

    parts = (hide(split, seed) for seed, split in enumerate((full.train, full.val, full.test)))
    splits = Splits(full.classes, *parts, full.expected_positives)
    made = SimpleNamespace(load=lambda: splits)
    monkeypatch.setattr(
        "labelattack.benchmark.execution.context.datasets.create", lambda spec: made
    )
    load.cache_clear()
    yield splits
    load.cache_clear()


def test_a_run_on_known_labels_says_so(partial_digits):
    grid = Grid(
        dataset="digits:train=60,val=30,test=40", model="tiny", protocol="linear", epochs=2,
        attacks=("targeted:rate=0.5,keep_negatives=true",), defenses=("iu",), lrs=(0.01,),
        batch_sizes=(16,), seeds=(0,),
    )  # fmt: skip
    cells = grid.cells(partial_digits.fingerprint)
    records = [run_cell(cell) for cell in cells]
    assert [record.status for record in records] == ["done", "done"], [r.reason for r in records]
    removal = records[1].removal
    train = partial_digits.train
    positives = int((train.labels).sum())
    assert removal.known_share == train.known_share
    assert removal.positives_removed == round(0.5 * positives) / positives
    assert removal.q_hat == round(0.5 * positives) / train.partial.known
    (board,) = boards(records)
    text = " ".join(remarks(board))
    share = 100 * train.known_share
    assert f"{share:.3g} % of the training labels are known to begin with" in text
    assert (
        f"mAP counts the {100 * partial_digits.test.known_share:.3g} % of the test labels" in text
    )
    assert "mAP leaves out 1 class without a positive or without a negative in test: 9" in text
    reference = next(row for row in board.rows if row.defense == "bce")
    assert reference.notes == ["oracle: all known labels"]


@pytest.mark.parametrize("spec", ["bce", "bce-ls"])
@pytest.mark.parametrize("case", ["complete", "partial", "positive-only"])
def test_the_reference_is_the_loss_on_all_that_is_known(spec, case):
    """Against a loop; unknown entries count, as negatives, only where no negative is known."""
    values, known = draw(6, 4, 0.5, 7)
    observed = {"complete": np.ones_like(known), "partial": known, "positive-only": values}[case]
    labels = PartialLabels(values, observed)
    loss = defenses.create(spec)
    loss.bind(Task(labels=labels))
    logits = torch.from_numpy(np.random.default_rng(2).normal(size=values.shape))
    found = loss(logits, to_step(labels, torch.arange(6)))
    smooth, total = (0.1 if spec == "bce-ls" else 0.0), 0.0
    for i in range(6):
        for c in range(4):
            if case == "positive-only" or observed[i, c]:
                p = 1 / (1 + np.exp(-float(logits[i, c])))
                target = 1 - smooth if values[i, c] and observed[i, c] else smooth
                total -= target * np.log(p) + (1 - target) * np.log(1 - p)
    assert float(found) == pytest.approx(total / 24, rel=1e-6)
