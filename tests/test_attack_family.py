"""Attacks that need labels only: each against a loop that is written from its definition."""

from fractions import Fraction
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labelattack import attacks
from labelattack.attacks import strata
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.manifest import manifest
from labelattack.attacks.strata import draw_count, draw_within_strata
from labelattack.errors import AttackError, LabelError, ParameterError, UnknownNameError
from labelattack.labels import PartialLabels
from labelattack.labels.co_occurrence import Pair, joint_counts, resolved_pair
from labelattack.testing import attack_checks
from labelattack.testing.check import example_labels, example_partial_labels
from tests.attack_loops import (
    Words,
    entries,
    first,
    observed,
    partial_labels,
    per_class,
    rates,
    seeds,
)

unhurried = settings(deadline=None)
SPECS = [
    "fixed-per-class:count=3",
    "class-conditional",
    "class-conditional:setting=head,gamma=2.5,keep_negatives=true",
    "class-conditional:setting=wipe-out",
    "co-occurrence",
    "disappear",
    "disappear:trigger=0,keep_negatives=false",
    "negatives-only",
    "annotator-pool",
    "annotator-pool:annotators=9,rule=majority,vocabulary=0.6,keep_negatives=true",
    "block:size=7",
    "unlabelled-images",
]


@pytest.mark.parametrize(
    "check",
    [check for spec in [*SPECS, "fixed-per-class", "block"] for check in attack_checks(spec)],
    ids=str,
)
def test_contract(check):
    check()


def attacked(spec, labels, seed=0, **knowledge):
    known = Knowledge({name: lambda value=value: value for name, value in knowledge.items()})
    return attacks.create(spec)(labels, seed=seed, knowledge=known)


@unhurried
@given(partial_labels(), st.integers(0, 9), seeds)
def test_fixed_per_class(labels, count, seed):
    known = entries(labels)
    word = dict(zip(known, Words(seed)(len(known)), strict=True))
    expected = set()
    for column in range(labels.shape[1]):
        for sign in (True, False):
            of = [entry for entry in entries(labels, sign) if entry[1] == column]
            expected |= set(first(of, [word[entry] for entry in of], count))
    assert observed(attacked(f"fixed-per-class:count={count}", labels, seed)) == expected
    more = observed(attacked(f"fixed-per-class:count={count + 1}", labels, seed))
    assert expected <= more


def removed_first(labels, priority, rate, words):
    """Positives that are removed: the largest priorities, ties by a further word."""
    positives = entries(labels, True)
    ties = words(len(positives))
    keys = [(-priority[entry], tie) for entry, tie in zip(positives, ties, strict=True)]
    return set(first(positives, keys, round(rate * len(positives))))


@unhurried
@given(partial_labels(), rates, seeds, st.sampled_from([("tail", -1), ("head", 1)]))
def test_class_conditional(labels, rate, seed, setting):
    positives, words = entries(labels, True), Words(seed)
    sizes = per_class(positives, labels.shape[1])
    word = dict(zip(positives, words(len(positives)), strict=True))
    priority = {}
    for column, size in enumerate(sizes):
        of = [entry for entry in positives if entry[1] == column]
        for r, entry in enumerate(first(of, [word[e] for e in of], size)):
            q = Fraction(size, max(sizes)) ** setting[1]
            priority[entry] = -(Fraction(2 * r + 1, 2) / size / q)
    removed = removed_first(labels, priority, rate, words)
    spec = f"class-conditional:setting={setting[0]},rate={rate!r},keep_negatives=true"
    assert observed(attacked(spec, labels, seed)) == set(entries(labels)) - removed


def test_classes_lose_in_proportion_to_their_rate(tmp_path):
    """Class a loses twice the share of b until it is empty; c loses nothing."""
    file = tmp_path / "rates.csv"
    file.write_text("class,weight\nb,0.3\nc,0\na,0.6\n")
    labels = PartialLabels.full(np.ones((100, 3), bool)).named(None, ["a", "b", "c"])
    spec = f"class-conditional:setting=file,rates={file},rate="
    for share, expected in ((0.3, [60, 30, 0]), (0.5, [100, 50, 0]), (0.6, [100, 80, 0])):
        left = attacked(f"{spec}{share}", labels)
        assert left.per_class("positives").tolist() == [100 - lost for lost in expected]
    with pytest.raises(AttackError, match=r"got 200 of 300; rates up to 0.666 are possible"):
        attacked(f"{spec}0.7", labels)
    with pytest.raises(LabelError, match="must name their classes"):
        attacked(f"{spec}0.1", np.ones((2, 3), bool))


@unhurried
@given(partial_labels(), rates, seeds)
def test_wipe_out(labels, rate, seed):
    positives = entries(labels, True)
    sizes = per_class(positives, labels.shape[1])
    order = sorted(range(labels.shape[1]), key=lambda column: (sizes[column], column))
    priority = {entry: -order.index(entry[1]) for entry in positives}
    removed = removed_first(labels, priority, rate, Words(seed))
    left = attacked(f"class-conditional:setting=wipe-out,rate={rate!r}", labels, seed)
    assert observed(left) == set(positives) - removed


def test_wipe_out_of_chosen_classes():
    labels = PartialLabels.full(np.tri(9, 4, dtype=bool)).named(None, ["cat", "dog", "2", "cow"])
    left = attacked("class-conditional:setting=wipe-out,classes=2+cat,rate=0.4", labels)
    assert left.per_class("positives").tolist() == [9 - 5, 8, 0, 6]
    with pytest.raises(UnknownNameError, match=r"class of attack .* 'cta'; did you mean 'cat'"):
        attacked("class-conditional:classes=cta", labels)


@pytest.mark.parametrize("spec", ["setting=file", "rates=x.csv"])
def test_rates_of_classes_and_their_setting_go_together(spec):
    with pytest.raises(ParameterError, match="must have setting 'file' together with 'rates'"):
        attacks.create(f"class-conditional:{spec}")


@unhurried
@given(partial_labels(), rates, seeds)
def test_co_occurrence(labels, rate, seed):
    positives = entries(labels, True)
    sizes = per_class(positives, labels.shape[1])
    priority = {}
    for i, j in positives:
        of_image = [c for row, c in positives if row == i]
        anchor = min(of_image, key=lambda c: (-sizes[c], c))
        with_anchor = [row for row, c in positives if c == anchor and labels.observed[row, j]]
        both = [row for row in with_anchor if labels.values[row, j]]
        priority[i, j] = -1 if j == anchor else Fraction(len(both), len(with_anchor))
    removed = removed_first(labels, priority, rate, Words(seed))
    left = attacked(f"co-occurrence:rate={rate!r},keep_negatives=true", labels, seed)
    assert observed(left) == set(entries(labels)) - removed


@given(partial_labels())
def test_joint_counts(labels):
    values = labels.values.astype(int)
    assert np.array_equal(joint_counts(labels), values.T @ values)


def slow_pair(labels):
    """The pair that is together in most images; the more frequent class is the trigger."""
    values = labels.values
    pairs = [(a, b) for a in range(values.shape[1]) for b in range(a + 1, values.shape[1])]
    a, b = max(pairs, key=lambda p: (values[:, p[0]] & values[:, p[1]]).sum())
    return Pair((a,), b) if values[:, a].sum() >= values[:, b].sum() else Pair((b,), a)


@given(partial_labels(), st.data())
def test_default_triggers_and_targets(labels, data):
    classes = labels.shape[1]
    if classes == 1:
        assert resolved_pair(labels, who="attack") is None
        assert resolved_pair(labels, "0", who="attack") is None
        return
    assert resolved_pair(labels, who="attack") == slow_pair(labels)
    some = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True))
    assume(len(some) < classes)
    has_all = labels.values[:, some].all(1)
    others = [c for c in range(classes) if c not in some]
    most = max(others, key=lambda c: (labels.values[:, c] & has_all).sum())
    named = resolved_pair(labels, "+".join(map(str, some)), who="attack")
    assert named == Pair(tuple(some), most)
    if len(some) == 1:
        aimed = resolved_pair(labels, target=str(some[0]), who="attack")
        assert aimed == Pair((most,), some[0])


@unhurried
@given(partial_labels(), rates, seeds, st.booleans())
def test_disappear(labels, rate, seed, kept):
    assume(labels.shape[1] > 2)
    aimed = [
        (i, j)
        for i, j in entries(labels, True)
        if j == 1 and labels.values[i, 0] and labels.values[i, 2]
    ]
    removed = Words(seed).share(aimed, rate)
    spec = f"disappear:trigger=2+0,target=1,rate={rate!r},keep_negatives={kept}"
    expected = set(entries(labels, None if kept else True)) - removed
    assert observed(attacked(spec, labels, seed)) == expected


def test_disappear_says_its_pair_and_claims_no_realised_rate():
    labels = PartialLabels.full(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]], bool))
    labels = labels.named(None, ["person", "dog", "cat"])
    attack = attacks.create("disappear:rate=0.5")
    assert attack.pair(labels) == Pair((0,), 1)
    account = manifest(attack, "disappear", 0, labels, attack(labels, seed=0))
    assert (account.rate_of, account.realised_rate) == ("targets", None)
    assert (account.removed_positives, account.removed_negatives) == (1, 0)
    named = attacks.create("disappear:trigger=cat+person,target=dog")
    assert named.pair(labels) == Pair((2, 0), 1)
    with pytest.raises(UnknownNameError, match="did you mean 'dog'"):
        attacked("disappear:target=dgo", labels)
    for spec in ("trigger=dog,target=dog", "target=dog+cat"):
        with pytest.raises(ParameterError, match="must have one target that is not in its trigger"):
            attacked(f"disappear:{spec}", labels)


@unhurried
@given(partial_labels(), rates, seeds)
def test_negatives_only(labels, rate, seed):
    negatives = entries(labels, False)
    removed = Words(seed).smallest(negatives, round(rate * len(negatives)))
    left = attacked(f"negatives-only:rate={rate!r}", labels, seed)
    assert observed(left) == set(entries(labels)) - removed


@unhurried
@given(
    partial_labels(),
    st.integers(1, 9),
    rates,
    st.tuples(rates, rates),
    seeds,
    st.sampled_from(["union", "majority"]),
    st.booleans(),
)
def test_annotator_pool(labels, annotators, rate, shares, seed, rule, kept):
    words, positives = Words(seed), entries(labels, True)
    asked, noticed = {e: set() for e in entries(labels)}, {e: set() for e in positives}
    for k in range(annotators):
        knows = words.share(range(labels.shape[1]), shares[0])
        sees = words.share(range(labels.shape[0]), shares[1])
        for i, j in asked:
            if i in sees and j in knows:
                asked[i, j].add(k)
        for entry, word in zip(positives, words(len(positives)), strict=True):
            if k in asked[entry] and (word >> 11) >= rate * 2**53:
                noticed[entry].add(k)
    expected = {
        e
        for e in positives
        if (noticed[e] if rule == "union" else 2 * len(noticed[e]) > len(asked[e]))
    }
    if kept:
        expected |= {e for e in entries(labels, False) if asked[e]}
    spec = (
        f"annotator-pool:annotators={annotators},rate={rate!r},vocabulary={shares[0]!r},"
        f"share={shares[1]!r},rule={rule},keep_negatives={kept}"
    )
    assert observed(attacked(spec, labels, seed)) == expected


def test_a_pool_of_64_annotators_overlooks_as_often_as_it_says():
    labels = np.ones((1000, 2), bool)
    left = attacked("annotator-pool:annotators=64,rate=0.96875,share=1", labels)
    share = (31 / 32) ** 64
    assert abs(left.hidden.mean() - share) < 5 * (share * (1 - share) / 2000) ** 0.5
    assert attacked("annotator-pool:share=0", labels).known == 0
    assert attacked("annotator-pool:rate=0,share=1", labels).positives.all()


def without_images(labels, lost):
    return {(i, j) for i, j in entries(labels) if i not in lost}


@unhurried
@given(partial_labels(), rates, seeds, st.integers(1, 9))
def test_blocks_groups_and_images(labels, rate, seed, size):
    images = len(labels)
    shards = Words(seed).share(range(-(-images // size)), rate)
    expected = without_images(labels, {i for i in range(images) if i // size in shards})
    assert observed(attacked(f"block:size={size},rate={rate!r}", labels, seed)) == expected

    alone = Words(seed).share(range(images), rate)
    left = attacked(f"unlabelled-images:rate={rate!r}", labels, seed)
    assert observed(left) == without_images(labels, alone)

    group = [f"patient {i * i % size}" for i in range(images)]
    lost = Words(seed).share(list(dict.fromkeys(group)), rate)
    left = attacked(f"group-block:rate={rate!r}", labels, seed, groups=tuple(group))
    assert observed(left) == without_images(labels, {i for i in range(images) if group[i] in lost})


def test_groups_come_from_a_file_or_are_asked_for(tmp_path):
    file = tmp_path / "groups.csv"
    file.write_text("id,group\nb,one\na,two\nc,one\n")
    labels = PartialLabels.full(np.ones((3, 2), bool)).named(["a", "b", "c"])
    left = attacked(f"group-block:rate=0.5,groups={file}", labels)
    assert left.per_image().tolist() in ([0, 2, 2], [2, 0, 0])
    with pytest.raises(AttackError, match=r"'group-block' needs the group of each image, got none"):
        attacked("group-block", labels)


@pytest.mark.parametrize("spec", [s for s in SPECS if "fixed" not in s])
def test_rates_are_nested_on_partial_labels(spec):
    before = set()
    for rate in (0, 0.15, 0.4, 0.7, 1):
        with_rate = f"{spec}{',' if ':' in spec else ':'}rate={rate}"
        removed = observed(example_partial_labels()) - observed(
            attacked(with_rate, example_partial_labels(), 3)
        )
        assert before <= removed
        before = removed


PINNED = {
    "fixed-per-class:count=3": "69615bbcb4d3e981",
    "class-conditional": "f01f09b044be39e4",
    "class-conditional:setting=head,gamma=2.5,keep_negatives=true": "51b6a777f7f7face",
    "class-conditional:setting=wipe-out": "c3345d06845d520e",
    "co-occurrence": "e010ad35419575db",
    "disappear": "19c6a48f1a1ef255",
    "disappear:trigger=0,keep_negatives=false": "ce98695216dc59d5",
    "negatives-only": "c34dfa167c9e0915",
    "annotator-pool": "bd5160ab8c36a408",
    "annotator-pool:annotators=9,rule=majority,vocabulary=0.6,keep_negatives=true": "45e53cfd4a3aa9e4",
    "block:size=7": "536181056a9d42ba",
    "unlabelled-images": "a336dcddad35098f",
}


@pytest.mark.parametrize("spec", SPECS)
def test_streams_never_change(spec):
    """Pinned values: another machine or library version must draw the same labels."""
    assert attacked(spec, example_labels(), 11).digest() == PINNED[spec]


def words_of(change):
    """Stands in for a generator whose words are not uniform."""
    source = np.random.PCG64(1)
    draw = source.random_raw

    class Bits(SimpleNamespace):
        state = property(lambda _: source.state, lambda _, to: setattr(source, "state", to))

    return SimpleNamespace(bit_generator=Bits(random_raw=lambda count: change(draw(count))))


@pytest.mark.parametrize("change", [lambda w: w, lambda w: w >> 62 << 62, lambda w: w >> 40])
@pytest.mark.parametrize("block", [50, 1 << 18])
def test_strata_are_drawn_as_defined(change, block):
    """Also where words tie, or crowd so that all must be sorted."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 5, 4000).astype(np.uint8)
    sizes = np.bincount(found, minlength=6)
    counts = np.array([0, 1, 300, sizes[3], 9999, 3])
    words = change(np.random.PCG64(1).random_raw(len(found)))
    expected = np.zeros(len(found), bool)
    for stratum, count in enumerate(counts):
        of = np.flatnonzero(found == stratum).tolist()
        expected[first(of, [words[n] for n in of], count)] = True
    with mock.patch.object(strata, "_BLOCK", block):
        assert np.array_equal(draw_within_strata(found, sizes, counts, words_of(change)), expected)
        drawn = draw_count(len(found), 700, words_of(change))
    assert np.flatnonzero(drawn).tolist() == sorted(first(range(4000), words, 700))
