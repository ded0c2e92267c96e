import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labelattack import attacks
from labelattack.attacks import base, removal
from labelattack.attacks.base import LabelAttack, draw_per_image, draw_share
from labelattack.attacks.manifest import manifest
from labelattack.attacks.removal import first_of, kth_largest
from labelattack.errors import LabelError, ParameterError, PluginError
from labelattack.labels import PartialLabels
from labelattack.seeding import random_keys, raw_words, skip_words

matrices = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
rates = st.floats(0, 1)


@given(matrices, rates, st.integers(0, 9))
def test_targeted_removes_exactly_the_rounded_share(labels, rate, seed):
    left = attacks.create(f"targeted:rate={rate!r}")(labels, seed=seed)
    assert left.positives.sum() == labels.sum() - round(rate * int(labels.sum()))
    assert not left.negatives.any()


@given(matrices, rates)
def test_targeted_keeps_negatives_on_request(labels, rate):
    left = attacks.create(f"targeted:rate={rate!r},keep_negatives=true")(labels, seed=0)
    assert np.array_equal(left.negatives, ~labels)


@given(matrices, st.sampled_from([0, 0.2, 0.29, 0.4, 0.5, 0.6, 0.7, 1]))
def test_targeted_per_image_never_takes_the_last_positive(labels, rate):
    left = attacks.create(f"targeted:rate={rate},scope=image")(labels, seed=0)
    for before, after in zip(labels.sum(1), left.positives.sum(1), strict=True):
        removed = min(math.floor(rate * int(before) + 1e-9), max(int(before) - 1, 0))
        assert after == before - removed


@given(matrices)
def test_single_positive_keeps_one_each(labels):
    left = attacks.create("single-positive")(labels, seed=0)
    assert np.array_equal(left.positives.sum(1), labels.any(1))
    assert not left.negatives.any()


@given(matrices, rates)
def test_random_removes_exactly_the_rounded_share(labels, rate):
    over_data = attacks.create(f"random:rate={rate!r}")(labels, seed=0)
    assert over_data.hidden.sum() == round(rate * labels.size)
    per_image = attacks.create(f"random:rate={rate!r},scope=image")(labels, seed=0)
    assert (per_image.hidden.sum(1) == round(rate * labels.shape[1])).all()


def test_single_positive_is_uniform():
    labels = np.ones((20_000, 4), bool)
    counts = attacks.create("single-positive")(labels, seed=0).positives.sum(0)
    assert np.abs(counts - 5000).max() < 5 * math.sqrt(20_000 * 0.25 * 0.75)


def test_random_is_uniform_over_cells():
    labels = np.zeros((20_000, 4), bool)
    for scope in ("dataset", "image"):
        hidden = attacks.create(f"random:rate=0.25,scope={scope}")(labels, seed=0).hidden.sum(0)
        assert np.abs(hidden - 5000).max() < 5 * math.sqrt(20_000 * 0.25 * 0.75)


def test_streams_never_change():
    """Pinned values: another machine or library version must draw the same labels."""
    labels = np.ones((4, 5), bool)
    drawn = {
        spec: np.flatnonzero(attacks.create(spec)(labels, seed=11).hidden).tolist()
        for spec in ("targeted:rate=0.2", "random:rate=0.2", "targeted:rate=0.2,scope=image")
    }
    assert drawn == PINNED


PINNED = {
    "targeted:rate=0.2": [10, 14, 17, 18],
    "random:rate=0.2": [10, 14, 17, 18],
    "targeted:rate=0.2,scope=image": [4, 6, 14, 17],
}


def slow_draw_share(cells, rate, rng):
    """The definition: the candidates with the smallest keys, without any trick."""
    candidates = np.flatnonzero(cells).tolist()
    bits = max(len(candidates) - 1, 1).bit_length()
    words = rng.bit_generator.random_raw(len(candidates)).tolist()
    order = sorted(range(len(candidates)), key=lambda i: (words[i] >> bits, i))
    drawn = np.zeros(cells.shape, bool)
    for i in order[: round(rate * len(candidates))]:
        drawn.flat[candidates[i]] = True
    return drawn


def slow_draw_per_image(cells, counts, rng):
    """The definition: in each row the candidates with the smallest keys, without any trick."""
    total = int(cells.sum())
    row_bits = max(len(cells) - 1, 1).bit_length()
    low_bits = max(total - 1, 1).bit_length()
    words = iter(rng.bit_generator.random_raw(total).tolist())
    keys = sorted(
        (int(row), next(words) >> row_bits >> low_bits, position, int(column))
        for position, (row, column) in enumerate(np.argwhere(cells))
    )
    drawn, left = np.zeros(cells.shape, bool), counts.tolist()
    for row, _, _, column in keys:
        drawn[row, column] = left[row] > 0
        left[row] -= 1
    return drawn


WORDS = {
    "uniform": lambda raw: raw,
    "tied": lambda raw: raw >> 62 << 62,
    "low": lambda raw: raw >> 40,
    "high": lambda raw: ~(raw >> (raw & 63)),
}
kinds = st.sampled_from(sorted(WORDS))


def words_of(kind, seed):
    """Stands in for a generator; its words may be such that many tie, or far from uniform."""
    return SimpleNamespace(bit_generator=Words(kind, seed))


class Words(np.random.PCG64):
    """A generator whose words are bent."""

    def __init__(self, kind, seed):
        super().__init__(seed)
        self.kind = kind

    def random_raw(self, size=None, output=True):
        return WORDS[self.kind](super().random_raw(size, output))


@st.composite
def candidates(draw):
    """Matrices up to 300 x 40, from empty to full, some with full rows among others."""
    rows = draw(st.integers(0, 300) | st.sampled_from([64, 128, 256]))
    labels = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = rng.random((rows, labels)) < draw(st.sampled_from([0, 0.02, 0.3, 0.9, 1]))
    cells[rng.random(rows) < draw(st.sampled_from([0, 0.1]))] = True
    return cells


@given(candidates(), rates, kinds, st.integers(0, 9))
def test_share_drawn_is_the_one_defined(cells, rate, kind, seed):
    found = draw_share(cells, rate, words_of(kind, seed))
    assert np.array_equal(found, slow_draw_share(cells, rate, words_of(kind, seed)))


@given(candidates(), kinds, st.integers(0, 9), st.sampled_from([1, 64, 1 << 18]))
@example(np.ones((64, 32), bool), "low", 0, 1 << 18)
def test_draw_per_image_is_the_one_defined(cells, kind, seed, block):
    counts = np.random.default_rng(seed).integers(-1, cells.shape[1] + 2, len(cells))
    with mock.patch.object(base, "_BLOCK", block):
        found = draw_per_image(cells, counts, words_of(kind, seed))
    assert np.array_equal(found, slow_draw_per_image(cells, counts, words_of(kind, seed)))


@pytest.mark.parametrize("kind", sorted(WORDS))
@pytest.mark.parametrize("density", [0.5, 1])
def test_large_draws_are_the_ones_defined(kind, density):
    """So many that few must be sorted, and that keys fit in 32 bits (of which the full one needs all)."""
    cells = np.random.default_rng(0).random((1 << 16, 4)) < density
    counts = np.arange(len(cells)) % 6
    found = draw_per_image(cells, counts, words_of(kind, 1))
    assert np.array_equal(found, slow_draw_per_image(cells, counts, words_of(kind, 1)))
    found = draw_share(cells, 0.4, words_of(kind, 1))
    assert np.array_equal(found, slow_draw_share(cells, 0.4, words_of(kind, 1)))


def test_words_that_crowd_anywhere_are_drawn_as_defined():
    """Equal but for bits that do not count, also where the words to sort begin and end."""
    cells = np.ones((10, 100), bool)
    rng = np.random.default_rng(0)
    for place in range(340, 660):
        crowd = (place << 64) // 1000 >> 10 << 10
        words = np.repeat(np.array([0, crowd, 2**64 - 1], np.uint64), [300, 400, 300])
        words[300:700] |= rng.integers(1024, size=400).astype(np.uint64)
        rng.shuffle(words)
        source = SimpleNamespace(
            bit_generator=SimpleNamespace(
                random_raw=lambda count, words=words: words[:count], state=None
            )
        )
        found = draw_share(cells, 0.5, source)
        assert np.array_equal(found, slow_draw_share(cells, 0.5, source))


def test_draws_take_one_word_for_each_candidate():
    """Whatever is drawn: what an attack draws next must not depend on it."""
    cells = np.random.default_rng(0).random((50, 8)) < 0.5
    expected = np.random.PCG64(3)
    expected.random_raw(int(cells.sum()))
    for draw in (
        lambda rng: draw_share(cells, 0, rng),
        lambda rng: draw_share(cells, 0.5, rng),
        lambda rng: draw_per_image(cells, np.zeros(50, np.int64), rng),
    ):
        rng = np.random.Generator(np.random.PCG64(3))
        draw(rng)
        assert rng.bit_generator.state == expected.state


@given(st.integers(0, 5000))
def test_random_keys_are_distinct(count):
    keys = random_keys(np.random.Generator(np.random.PCG64(0)), count)
    assert len(np.unique(keys)) == count


@pytest.mark.parametrize("spec", ["targeted:rate=0.3", "random:rate=0.3", "single-positive"])
def test_manifest_against_loops(spec):
    rng = np.random.default_rng(0)
    labels = rng.random((50, 6)) < 0.3
    attack = attacks.create(spec)
    left = attack(labels, seed=2)
    account = manifest(attack, spec, 2, labels, left)
    lost = [[0, 0] for _ in range(6)]
    per_image = []
    for i in range(50):
        per_image.append(0)
        for j in range(6):
            if not left.observed[i, j]:
                per_image[i] += 1
                lost[j][0 if labels[i, j] else 1] += 1
    assert account.removed_per_image == per_image
    assert [list(pair) for pair in account.removed_per_class] == lost
    positives = sum(p for p, _ in lost)
    assert account.removed_positives == positives
    assert account.q_hat == pytest.approx(sum(per_image) / 300)
    expected = sum(per_image) / 300 if spec.startswith("random") else positives / labels.sum()
    assert account.realised_rate == pytest.approx(expected)


def test_out_of_range_rate():
    with pytest.raises(
        ParameterError, match=r"'rate' of attack 'targeted' must be .* 1, got '1.4'"
    ):
        attacks.create("targeted:rate=1.4")


def test_labels_must_be_a_bool_matrix():
    with pytest.raises(LabelError, match="bool"):
        attacks.create("none")(np.zeros((2, 2)), seed=0)


def test_a_wrong_mask_is_refused():
    class Wrong(LabelAttack):
        def observe(self, labels, rng):
            return labels[:1]

    with pytest.raises(PluginError, match="must return a bool array"):
        Wrong()(np.zeros((2, 2), bool), seed=0)


@pytest.fixture
def coco(data_root):
    with np.load(data_root / "coco2014" / "train2014_labels.npz") as archive:
        return archive["labels"].astype(bool)


def test_coco_sized_attack_is_exact(coco):
    left = attacks.create("targeted:rate=0.4")(coco, seed=0)
    assert isinstance(left, PartialLabels)
    assert left.positives.sum() == coco.sum() - round(0.4 * int(coco.sum()))


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        ("targeted:rate=0.4", "c92afb37551dfd88"),
        ("targeted:rate=0.4,scope=image", "917cdaf0b5d60293"),
        ("single-positive", "8d0b4c1f43451b13"),
        ("random:rate=0.4", "5c7c693293b003bf"),
        ("random:rate=0.4,scope=image", "68a7c10268b0e76c"),
    ],
)
def test_coco_sized_attacks_never_change(coco, spec, digest):
    assert attacks.create(spec)(coco, seed=0).digest() == digest


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@given(data=st.data())
def test_kth_largest_is_that_of_a_sorted_list(dtype, data):
    floats = st.floats(-9, 9, width=32) | st.sampled_from([np.inf, -np.inf, 1e-40, -0.0])
    kind = st.integers(-5, 5) if dtype is np.int64 else floats
    values = data.draw(arrays(dtype, st.integers(1, 40), elements=kind))
    among = data.draw(st.none() | arrays(np.bool_, len(values)).filter(np.any))
    chosen = values if among is None else values[among]
    k = data.draw(st.integers(1, len(chosen)))
    with mock.patch.object(removal, "_BLOCK", 8):
        assert kth_largest(values, k, among) == sorted(chosen.tolist(), reverse=True)[k - 1]


@given(arrays(np.float32, st.integers(0, 60), elements=st.integers(-3, 3).map(float)), rates)
def test_the_first_in_an_order_are_the_largest_and_ties_are_by_words(priority, rate):
    words = np.random.Generator(np.random.PCG64(4)).bit_generator.random_raw(len(priority))
    order = sorted(range(len(priority)), key=lambda n: (-priority[n], words[n]))
    expected = np.zeros(len(priority), bool)
    expected[order[: round(rate * len(priority))]] = True
    apart = np.insert(priority, np.arange(len(priority)), 9)  # every other one counts
    among = np.arange(len(apart)) % 2 == 1
    for block in (4, 1 << 18):
        with mock.patch.object(removal, "_BLOCK", block):
            found = first_of(priority, rate, np.random.Generator(np.random.PCG64(4)))
            found_among = first_of(
                apart, rate, np.random.Generator(np.random.PCG64(4)), among=among
            )
        assert np.array_equal(found, expected)
        assert np.array_equal(found_among, expected)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox])
def test_skipped_words_are_those_that_would_be_drawn(kind):
    one, other = np.random.Generator(kind(1)), np.random.Generator(kind(1))
    for count in (0, 1, 1000):
        skip_words(one, count)
        raw_words(other, count)
        assert np.array_equal(raw_words(one, 3), raw_words(other, 3))
