"""Attacks that change labels: each against a loop that is written from its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelattack import attacks
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.manifest import manifest
from labelattack.errors import AttackError, LabelError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.testing.check import example_labels, example_partial_labels
from tests.attack_loops import Words, entries, first, partial_labels, per_class, rates, seeds

unhurried = settings(deadline=None)
SCORES = (np.arange(280) * 37 % 280 / 280).reshape(40, 7).astype(np.float32)
SPECS = [
    "flip",
    "flip:positive_rate=0.5,negative_rate=0.1",
    "flip-confidence:negative_rate=0.1",
    "hidden-as-negative",
    "false-positives",
]


def changed(spec, labels, seed=0, scores=SCORES):
    """Entries whose value an attack changed; checks that it did nothing else."""
    before = labels.digest()
    left = attacks.create(spec)(labels, seed=seed, knowledge=Knowledge({"scores": lambda: scores}))
    assert labels.digest() == before
    assert np.array_equal(left.observed, labels.observed)
    return {(int(i), int(j)) for i, j in np.argwhere(left.values != labels.values)}


@unhurried
@given(partial_labels(), rates, rates, seeds)
def test_flip(labels, positive, negative, seed):
    words, ones, zeros = Words(seed), entries(labels, True), entries(labels, False)
    expected = words.share(ones, positive)
    expected |= words.smallest(zeros, round(negative * len(zeros)))
    spec = f"flip:positive_rate={positive!r},negative_rate={negative!r}"
    assert changed(spec, labels, seed) == expected


@unhurried
@given(partial_labels(), seeds, st.data())
def test_flip_by_class(tmp_path_factory, labels, seed, data):
    names = [f"class {n}" for n in range(labels.shape[1])]
    shares = [data.draw(st.sampled_from([0, 0.25, 0.5, 1])) for _ in names]
    file = tmp_path_factory.mktemp("rates") / "rates.csv"
    lines = [f"{name},{share}" for name, share in zip(names, shares, strict=True)]
    file.write_text("\n".join(["class,weight", *lines]))
    ones, words = entries(labels, True), Words(seed)
    word, expected = dict(zip(ones, words(len(ones)), strict=True)), set()
    for column, size in enumerate(per_class(ones, len(names))):
        of = [entry for entry in ones if entry[1] == column]
        expected |= set(first(of, [word[e] for e in of], round(shares[column] * size)))
    assert changed(f"flip:rates={file}", labels.named(None, names), seed) == expected


def test_flip_by_class_needs_names(tmp_path):
    file = tmp_path / "rates.csv"
    file.write_text("class,weight\na,0.5\n")
    with pytest.raises(LabelError, match="attack 'flip' matches its file of weights by name"):
        attacks.create(f"flip:rates={file}")(np.ones((2, 1), bool), seed=0)


@unhurried
@given(partial_labels(), rates, rates, seeds, st.sampled_from([2, 200]))
def test_flip_confidence(labels, positive, negative, seed, levels):
    scores = np.random.default_rng(seed).integers(0, levels, labels.shape).astype(np.float32)
    scores /= levels
    words, expected = Words(seed), set()
    for sign, rate, order in ((True, positive, 1), (False, negative, -1)):
        of = entries(labels, sign)
        if sign or rate:
            ties = words(len(of))
            keys = [(order * scores[e], tie) for e, tie in zip(of, ties, strict=True)]
            expected |= set(first(of, keys, round(rate * len(of))))
    spec = f"flip-confidence:positive_rate={positive!r},negative_rate={negative!r}"
    assert changed(spec, labels, seed, scores) == expected


def test_flip_confidence_needs_scores():
    with pytest.raises(AttackError, match="'flip-confidence' needs a score of each label"):
        attacks.create("flip-confidence")(np.ones((2, 1), bool), seed=0)


@unhurried
@given(partial_labels(), rates, seeds)
def test_hidden_as_negative_changes_what_targeted_hides(labels, rate, seed):
    hidden = attacks.create(f"targeted:rate={rate!r},keep_negatives=true")(labels, seed=seed)
    expected = set(entries(labels)) - set(entries(hidden))
    assert expected == Words(seed).share(entries(labels, True), rate)
    assert changed(f"hidden-as-negative:rate={rate!r}", labels, seed) == expected


@unhurried
@given(partial_labels(), rates, seeds)
def test_false_positives(labels, rate, seed):
    negatives = entries(labels, False)
    count = round(rate * len(entries(labels, True)))
    expected = Words(seed).smallest(negatives, count)
    assert len(expected) == min(count, len(negatives))
    assert changed(f"false-positives:rate={rate!r}", labels, seed) == expected


@pytest.mark.parametrize(
    ("spec", "parameter"),
    [
        ("flip", "positive_rate"),
        ("flip", "negative_rate"),
        ("flip-confidence", "positive_rate"),
        ("flip-confidence", "negative_rate"),
        ("hidden-as-negative", "rate"),
        ("false-positives", "rate"),
    ],
)
def test_rates_are_nested(spec, parameter):
    before = set()
    for rate in (0, 0.1, 0.4, 0.8, 1):
        now = changed(f"{spec}:{parameter}={rate}", example_partial_labels(), 3)
        assert before <= now
        before = now
    with pytest.raises(ParameterError, match=f"'{parameter}' of attack '{spec}' must be"):
        attacks.create(f"{spec}:{parameter}=1.1")


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 1), (1, 5)])
def test_edge_cases(spec, shape):
    for fill in (False, True):
        changed(spec, PartialLabels.full(np.full(shape, fill)), 0, np.zeros(shape, np.float32))


@pytest.mark.parametrize("spec", SPECS)
def test_manifests(spec):
    labels, attack = example_partial_labels(), attacks.create(spec)
    left = attack(labels, seed=1, knowledge=Knowledge({"scores": lambda: SCORES}))
    account = manifest(attack, spec, 1, labels, left)
    positives = entries(labels, True)
    found = changed(spec, labels, 1)
    assert account.changed == len(found)
    assert account.removed_positives == len(found & set(positives))
    if account.requested_rate is not None:
        assert account.realised_rate == round(0.4 * len(positives)) / len(positives)


PINNED = {
    "flip": "b87c41d51029a49d",
    "flip:positive_rate=0.5,negative_rate=0.1": "f330a7c45e413ab4",
    "flip-confidence:negative_rate=0.1": "f554699d00c990d4",
    "hidden-as-negative": "7468421bbbf4050d",
    "false-positives": "971744c210f5c96b",
}


@pytest.mark.parametrize("spec", SPECS)
def test_streams_never_change(spec):
    """Pinned values: another machine or library version must draw the same labels."""
    knowledge = Knowledge({"scores": lambda: SCORES})
    left = attacks.create(spec)(example_labels(), seed=11, knowledge=knowledge)
    assert left.digest() == PINNED[spec]
