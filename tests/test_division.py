"""Hold-outs: at random, by groups, and with rare classes on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack.datasets.base import Split
from labelattack.datasets.division import held_out, hold_out
from labelattack.datasets.images import ArrayImages
from labelattack.errors import DatasetError
from labelattack.seeding import permutation


def a_split(labels, groups=None):
    images = ArrayImages(np.zeros((len(labels), 2, 2), np.uint8))
    return Split(images, labels, [str(row) for row in range(len(labels))], groups=groups)


def made_up(images, groups, seed):
    rng = np.random.default_rng(seed)
    names = [f"patient {number}" for number in rng.integers(0, groups, images)]
    return a_split(rng.random((images, 5)) < [0.5, 0.2, 0.1, 0.03, 0.01], names)


def test_without_groups_the_draw_is_the_first_of_a_permutation():
    split = a_split(np.ones((50, 1), bool))
    train, val = hold_out(split, 0.3, 4, "name")
    order = permutation(50, 4, "name")
    assert val.ids == [str(row) for row in np.sort(order[:15])]
    assert train.ids == [str(row) for row in np.sort(order[15:])]


@given(
    st.integers(2, 80), st.integers(1, 20), st.sampled_from([0.1, 0.2, 0.5]), st.booleans(), st.integers(0, 99)
)  # fmt: skip
def test_no_group_is_divided(images, groups, share, stratify, seed):
    split = made_up(images, groups, seed)
    held = held_out(split, share, seed, "name", by_group=True, stratify=stratify)
    assert held.shape == (images,)
    inside = {name for name, taken in zip(split.groups, held, strict=True) if taken}
    outside = {name for name, taken in zip(split.groups, held, strict=True) if not taken}
    assert not inside & outside
    again = held_out(split, share, seed, "name", by_group=True, stratify=stratify)
    assert np.array_equal(held, again)


@given(st.integers(0, 99), st.booleans())
def test_the_share_is_met_but_for_a_group(seed, stratify):
    split = made_up(400, 100, seed)
    held = held_out(split, 0.25, seed, "name", by_group=True, stratify=stratify)
    largest = max(split.groups.count(name) for name in set(split.groups))
    # Groups are taken class by class, so that each class may be off by half a group.
    assert abs(held.sum() - 100) <= largest * (3 if stratify else 1)


@given(st.integers(0, 99))
def test_rare_classes_reach_both_sides(seed):
    split = made_up(300, 300, seed)
    held = held_out(split, 0.2, seed, "name", by_group=False, stratify=True)
    counts, taken = split.labels.sum(0), split.labels[held].sum(0)
    for total, inside in zip(counts, taken, strict=True):
        if total >= 2:
            assert 1 <= inside < total
        assert abs(inside - 0.2 * total) <= max(0.1 * total, 1.5)


def test_a_hold_out_that_leaves_nothing_is_refused():
    split = a_split(np.ones((3, 1), bool), ["a", "a", "a"])
    with pytest.raises(DatasetError, match="a hold-out of 0.2 must leave images .* got 0 of 3"):
        hold_out(split, 0.2, 0, "name", by_group=True)
    with pytest.raises(DatasetError, match="must have a group for each image, got none"):
        hold_out(a_split(np.ones((3, 1), bool)), 0.2, 0, "name", by_group=True)
    with pytest.raises(DatasetError, match="a group for each image, got 2"):
        a_split(np.ones((3, 1), bool), ["a", "b"])
