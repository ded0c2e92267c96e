"""Attacks that know scores, areas, boxes or weights, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelattack import attacks
from labelattack.attacks.biased import image_chances
from labelattack.attacks.knowledge import Knowledge
from labelattack.attacks.location_biased import nearness
from labelattack.attacks.removal import first_within
from labelattack.errors import AttackError, LabelError
from labelattack.labels import PartialLabels
from labelattack.labels.objects import ImageObjects, ObjectList
from labelattack.seeding import generator

seeds = st.integers(0, 9999)
rates = st.floats(0, 1)


def partial_labels(seed, images=8, labels=5):
    """Labels, listed or not, with rows of which nothing is known; scores of which some are equal."""
    rng = np.random.default_rng(seed)
    values = rng.random((images, labels)) < rng.choice([0.1, 0.5, 1])
    observed = rng.random((images, labels)) < rng.choice([0.2, 0.8, 1])
    found = PartialLabels(values, observed)
    if seed % 2:
        rows, columns = np.nonzero(observed)
        found = PartialLabels.from_entries(values.shape, rows, columns, found.known_values)
    scores = rng.integers(0, 8, (images, labels)).astype(np.float32) / 8
    return found, scores


def attacked(spec, labels, seed=0, **known):
    sources = {name: (lambda value=value: value) for name, value in known.items()}
    return attacks.create(spec)(labels, seed=seed, knowledge=Knowledge(sources))


@given(seeds, st.booleans())
def test_first_within_against_loops(seed, double):
    rng = np.random.default_rng(seed)
    available = rng.integers(0, 6, 7)
    numbers = rng.integers(-2, 3, available.sum()).astype(np.float64 if double else np.float32)
    numbers[rng.random(len(numbers)) < 0.2] = -np.inf
    counts = rng.integers(-1, 7, 7)
    words = generator(seed).bit_generator.random_raw(len(numbers)).tolist()
    expected, start = [], 0
    for many, count in zip(available.tolist(), counts.tolist(), strict=True):
        items = sorted(range(start, start + many), key=lambda n: (-numbers[n], words[n]))
        expected += items[: max(count, 0)]
        start += many
    found = first_within(numbers, available, counts, generator(seed))
    assert np.flatnonzero(found).tolist() == sorted(expected)
    more = first_within(numbers, available, counts + 1, generator(seed))
    assert not (found & ~more).any()


def test_first_within_works_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    available = rng.integers(0, 9, 500)
    numbers = rng.integers(0, 4, available.sum()).astype(np.float32)
    counts = rng.integers(0, 9, 500)
    whole = first_within(numbers, available, counts, generator(1))
    monkeypatch.setattr("labelattack.attacks.removal._BLOCK", 64)
    assert np.array_equal(first_within(numbers, available, counts, generator(1)), whole)


@given(seeds, rates, st.sampled_from(["most", "least"]), st.booleans())
def test_confidence_removes_the_largest_or_the_smallest(seed, rate, drop, keep):
    labels, scores = partial_labels(seed)
    spec = f"confidence:drop={drop},rate={rate!r},keep_negatives={str(keep).lower()}"
    left = attacked(spec, labels, seed, scores=scores)
    count = round(rate * labels.known_positives)
    gone = labels.positives & ~left.positives
    assert gone.sum() == count and not (left.positives & ~labels.positives).any()
    kept = scores[left.positives]
    if count and len(kept):
        if drop == "most":
            assert scores[gone].min() >= kept.max()
        else:
            assert scores[gone].max() <= kept.min()
    assert np.array_equal(left.negatives, labels.negatives & keep)


@given(seeds)
def test_instance_dependent_keeps_the_highest_score(seed):
    labels, scores = partial_labels(seed)
    left = attacked("instance-dependent", labels, seed, scores=scores)
    assert not left.negatives.any()
    for row in range(len(labels)):
        there, kept = labels.positives[row], np.flatnonzero(left.positives[row])
        assert len(kept) == there.any()
        if len(kept):
            assert there[kept[0]] and scores[row, kept[0]] == scores[row, there].max()


@given(seeds, rates)
def test_machine_suggested_keeps_the_highest_scores(seed, rate):
    labels, scores = partial_labels(seed)
    left = attacked(f"machine-suggested:rate={rate!r}", labels, seed, scores=scores)
    gone = labels.observed & ~left.observed
    assert gone.sum() == round(rate * labels.known)
    assert not (left.observed & ~labels.observed).any()
    assert np.array_equal(left.values, labels.values & left.observed)
    if gone.any() and left.observed.any():
        assert scores[gone].max() <= scores[left.observed].min()
    left = attacked(f"machine-suggested:rate={rate!r},scope=image", labels, seed, scores=scores)
    for row in range(len(labels)):
        known, kept = labels.observed[row], left.observed[row]
        gone = known & ~kept
        assert gone.sum() == round(rate * int(known.sum()))
        if gone.any() and kept.any():
            assert scores[row, gone].max() <= scores[row, kept].min()


@given(seeds)
def test_chances_add_up_over_each_image(seed):
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(0, 5, 12))
    weights = rng.integers(0, 3, 12).astype(float) * rng.integers(0, 2)
    found = image_chances(weights, rows, 6)
    for row in set(rows.tolist()):
        some = weights[rows == row]
        expected = some / some.sum() if some.sum() else np.full(len(some), 1 / len(some))
        assert np.allclose(found[rows == row], expected)


def objects_of(labels, seed, *, unlisted=True):
    """Up to three annotations of each positive, and some of labels that are not known."""
    rng = np.random.default_rng(seed)
    images = []
    for row in labels.values:
        classes = np.repeat(np.arange(len(row)), rng.integers(0, 4, len(row)) * (row | unlisted))
        corners = rng.integers(0, 20, (len(classes), 4)).astype(float)
        corners[:, 2:] += corners[:, :2]
        corners[rng.random(len(classes)) < 0.2] = (5, 6, 15, 14)  # its centre is that of the image
        areas = rng.integers(1, 99, len(classes)).astype(float)
        images.append(ImageObjects(classes, corners, areas, (20, 20)))
    return images


@given(seeds)
def test_nearness_against_loops(seed):
    labels, _ = partial_labels(seed)
    images = objects_of(labels, seed)
    expected = []
    for row, column in zip(*labels.positive_entries(), strict=True):
        total = 0.0
        for kind, box in zip(images[row].classes, images[row].corners, strict=True):
            if kind == column:
                d = math.hypot((box[0] + box[2]) / 2 - 10, (box[1] + box[3]) / 2 - 10)
                total += 1 / (d or 0.0005)
        expected.append(total)
    for objects in (images, ObjectList.from_images(images)):
        assert np.allclose(nearness(objects, labels), expected, rtol=1e-6)


CASES = ("size-biased", "location-biased", "semantic-biased")


def knowledge_of(spec, labels, seed):
    """Knowledge of a biased attack, and the weight of each entry that it means."""
    rng = np.random.default_rng(seed)
    areas = rng.integers(0, 4, labels.shape).astype(np.float32) / 4
    weights = rng.integers(0, 3, labels.shape[1]) / 2
    boxes = objects_of(labels, seed)
    near = np.zeros(labels.shape)
    near[labels.positive_entries()] = nearness(boxes, labels)
    return {
        "size-biased": ({"areas": areas}, areas),
        "location-biased": ({"boxes": boxes}, near),
        "semantic-biased": ({"weights": weights}, np.broadcast_to(weights, labels.shape)),
    }[spec]


@given(st.sampled_from(CASES), seeds, st.booleans())
def test_biased_attacks_keep_one_positive_of_weight(spec, seed, keep):
    labels, _ = partial_labels(seed)
    known, weights = knowledge_of(spec, labels, seed)
    left = attacked(f"{spec}:keep_negatives={str(keep).lower()}", labels, seed, **known)
    assert np.array_equal(left.negatives, labels.negatives & keep)
    for row in range(len(labels)):
        there, kept = labels.positives[row], left.positives[row]
        assert not (kept & ~there).any() and kept.sum() == there.any()
        if weights[row, there].any():
            assert weights[row, kept].all()


@given(st.sampled_from(CASES), seeds, rates, rates)
def test_biased_attacks_remove_an_exact_and_nested_share(spec, seed, rate, other):
    labels, _ = partial_labels(seed)
    known, weights = knowledge_of(spec, labels, seed)
    few, many = (
        attacked(f"{spec}:rate={r!r}", labels, seed, **known) for r in sorted((rate, other))
    )
    for left, r in ((few, min(rate, other)), (many, max(rate, other))):
        gone = labels.positives & ~left.positives
        assert gone.sum() == round(r * labels.known_positives)
        # Those without weight go first, but for images that have no other.
        nothing = (weights == 0) & (weights * labels.positives).any(axis=1, keepdims=True)
        if (gone & ~nothing).any():
            assert not (left.positives & nothing).any()
    assert not (many.positives & ~few.positives).any()


@pytest.mark.parametrize("spec", CASES)
def test_one_positive_is_drawn_with_chances_in_proportion(spec):
    images = 20_000
    labels = PartialLabels.full(np.tile([True, True, False, True], (images, 1)))
    weights = np.array([0.1, 0.6, 1, 0.3])
    boxes = ObjectList.of(
        np.repeat(np.arange(images), 4),
        np.tile([0, 1, 1, 3], images),
        # Distances 10, 10/4, 10/2 and 10/3 of the middle: weights 1 : 4 + 2 : 3.
        np.tile([[50, 50 + d, 50, 50 + d] for d in (10, 2.5, 5, 10 / 3)], (images, 1)),
        np.ones(4 * images),
        np.full((images, 2), 100.0),
    )
    known = {
        "size-biased": {"areas": np.tile(weights, (images, 1)).astype(np.float32)},
        "location-biased": {"boxes": boxes},
        "semantic-biased": {"weights": weights},
    }[spec]
    counts = attacked(spec, labels, 3, **known).positives.sum(axis=0)
    for count, chance in zip(counts, (0.1, 0.6, 0, 0.3), strict=True):
        assert abs(count - images * chance) <= 5 * math.sqrt(images * chance * (1 - chance))
    # Two of six stay. The reference draws one after the other, in each of many small sets.
    rng = np.random.default_rng(0)
    pairs = labels.take(np.arange(2))
    some = {"boxes": boxes, **known}
    some = {k: (v[:2] if k == "areas" else v) for k, v in some.items()}
    some["boxes"] = boxes.take(np.arange(2))
    kept, expected = np.zeros(3), np.zeros(3)
    chances = np.array([0.1, 0.6, 0.3, 0.1, 0.6, 0.3]) / 2
    runs = 1000
    for seed in range(runs):
        left = attacked(f"{spec}:rate={2 / 3}", pairs, seed, **some)
        kept += left.positives[:, [0, 1, 3]].sum(axis=0)
        expected += np.bincount(rng.choice(6, 2, replace=False, p=chances) % 3, minlength=3)
    assert np.abs(kept - expected).max() < 5 * math.sqrt(2 * runs * 2 * 0.25)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_scores_and_areas_come_from_files(tmp_path, suffix):
    values = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    path = tmp_path / f"table{suffix}"
    if suffix == ".csv":
        path.write_text("image,b,a\ny,0.8,0.2\nx,0.1,0.9\n")
    else:
        np.savez(path, scores=values, image_id=np.array(["x", "y"]), classes=np.array(["a", "b"]))
    labels = PartialLabels.full(np.ones((2, 2), bool)).named(["x", "y"], ["a", "b"])
    for spec in (
        f"confidence:rate=0.5,drop=least,scores={path}",
        f"instance-dependent:scores={path}",
        f"machine-suggested:rate=0.5,scores={path}",
    ):
        assert np.array_equal(attacks.create(spec)(labels, seed=0).positives, np.eye(2, dtype=bool))
    one = attacks.create(f"size-biased:areas={path}")(labels, seed=0)
    assert (one.positives.sum(axis=1) == 1).all()
    with pytest.raises(LabelError, match="must name their images, got none"):
        attacks.create(f"size-biased:areas={path}")(np.ones((2, 2), bool), seed=0)


def test_weights_come_from_a_file(tmp_path):
    path = tmp_path / "weights.csv"
    path.write_text("class,weight\nb,0.5\na,0\n")
    labels = PartialLabels.full(np.array([[1, 1], [1, 0], [0, 0]], bool)).named(None, ["a", "b"])
    left = attacks.create(f"semantic-biased:weights={path}")(labels, seed=0)
    assert left.positives.tolist() == [[False, True], [True, False], [False, False]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("confidence", "attack 'confidence' needs a score of each label .* confidence:scores=FILE"),
        ("instance-dependent", "needs a score of .*, got none; .*instance-dependent:scores=FILE"),
        ("machine-suggested", "needs a score of .*, got none; .*machine-suggested:scores=FILE"),
        ("size-biased", "needs the share of each image .*size-biased:areas=FILE .*, or use a data"),
        ("location-biased", "needs boxes of the objects .*, got none; use a dataset whose annota"),
        ("semantic-biased", "needs a weight of each class, got none; .*semantic-biased:weights=FI"),
    ],
)
def test_missing_knowledge_is_named(spec, message):
    for call in (
        lambda: attacks.create(spec)(np.ones((2, 2), bool), seed=0),
        lambda: attacks.create(spec).observe(np.ones((2, 2), bool), generator(0)),
    ):
        with pytest.raises(AttackError, match=message):
            call()


def test_labels_without_positives_or_images_are_legal():
    for shape in ((0, 3), (1, 1), (4, 2)):
        labels = PartialLabels.full(np.zeros(shape, bool))
        known = {
            "scores": np.zeros(shape, np.float32),
            "areas": np.zeros(shape, np.float32),
            "weights": np.zeros(shape[1]),
            "boxes": objects_of(labels, 0),
        }
        for name in (*CASES, "confidence", "instance-dependent"):
            assert not attacked(name, labels, **known).positives.any()
        left = attacked("machine-suggested:rate=1,scope=image", labels, **known)
        assert left.known == 0
