"""Paired tests, corrections, ranks and intervals against independent references."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score
from statsmodels.stats.multitest import multipletests

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.boards.ranking import Run, rank
from labelattack.benchmark.boards.reliability import reliability_warnings
from labelattack.benchmark.report.tables import remarks, to_markdown
from labelattack.benchmark.store.record import CleanScores
from labelattack.metrics.average_precision import map_interval
from labelattack.metrics.statistics import holm, paired, rank_ranges
from labelattack.seeding import bounded, generator
from tests.test_benchmark import fake

points = st.floats(0, 100).map(lambda value: round(value, 2))
p_values = st.lists(st.floats(0, 1), max_size=12)


# --- statistics


@given(st.lists(st.tuples(points, points), min_size=2, max_size=12))
def test_paired_equals_scipy(pairs):
    first, second = np.array(pairs).T
    found = paired(first.tolist(), second.tolist())
    differences = first - second
    assert found.difference.mean == pytest.approx(differences.mean(), abs=1e-9)
    assert found.difference.seeds == len(pairs)
    if np.ptp(differences) < 1e-9:
        assert found.effect_size is None
        assert found.p == (1.0 if abs(differences[0]) < 1e-9 else 0.0)
        return
    expected = stats.ttest_rel(first, second)
    limits = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert found.difference.half_width == pytest.approx((limits.high - limits.low) / 2, rel=1e-6)
    assert found.effect_size == pytest.approx(
        differences.mean() / differences.std(ddof=1), abs=1e-9
    )


@given(st.lists(st.tuples(points, points), min_size=2, max_size=8), st.randoms())
def test_paired_is_antisymmetric_and_knows_no_order(pairs, random):
    first, second = zip(*pairs, strict=True)
    there, back = paired(first, second), paired(second, first)
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    assert there.p == pytest.approx(back.p)
    random.shuffle(pairs)
    shuffled = paired(*zip(*pairs, strict=True))
    assert shuffled.p == pytest.approx(there.p, abs=1e-12)


def test_one_pair_has_neither_interval_nor_p():
    found = paired([3.0], [1.0])
    assert found == ((2.0, None, 1), None, None)


@settings(max_examples=40, deadline=None)
@given(p_values)
def test_holm_equals_statsmodels(values):
    expected = multipletests(values, method="holm")[1] if values else []
    assert holm(values) == pytest.approx(list(expected))


@given(p_values)
def test_holm_is_monotone_no_smaller_and_knows_no_order(values):
    found = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, found, strict=True))
    for one, other in combinations(range(len(values)), 2):
        if values[one] <= values[other]:
            assert found[one] <= found[other]
    turned = holm(values[::-1])[::-1]
    assert turned == pytest.approx(found)


def reached(better, start):
    """Everything that is worse than ``start``, directly or by way of others."""
    found, waiting = set(), [start]
    while waiting:
        one = waiting.pop()
        new = {loser for winner, loser in better if winner == one} - found
        found |= new
        waiting += new
    return found


def ranks_by_hand(count, better):
    worse = [reached(better, number) for number in range(count)]
    sure = {(a, b) for a in range(count) for b in worse[a] if a not in worse[b]}
    return [
        (1 + sum(b == n for _, b in sure), count - sum(a == n for a, _ in sure))
        for n in range(count)
    ], sure


@st.composite
def tournaments(draw, contradictory=True):
    """How many things, and some pairs (better, worse)."""
    count = draw(st.integers(1, 7))
    order = draw(st.permutations(range(count)))
    pairs = [pair for pair in combinations(order, 2) if draw(st.booleans())]
    if contradictory:
        pairs = [draw(st.sampled_from([pair, pair[::-1]])) for pair in pairs]
    return count, pairs


@given(tournaments())
def test_rank_ranges_by_brute_force(tournament):
    found = rank_ranges(*tournament)
    assert found == ranks_by_hand(*tournament)[0]
    assert all(1 <= low <= high <= tournament[0] for low, high in found)


@given(tournaments())
def test_two_that_cannot_be_told_apart_share_a_rank(tournament):
    found, sure = rank_ranges(*tournament), ranks_by_hand(*tournament)[1]
    for one, other in combinations(range(tournament[0]), 2):
        share = max(found[one][0], found[other][0]) <= min(found[one][1], found[other][1])
        assert share or (one, other) in sure or (other, one) in sure


@given(tournaments(contradictory=False))
def test_ranks_leave_room_for_the_true_order(tournament):
    """If nothing contradicts, an order that agrees with every pair is possible."""
    count, better = tournament
    found, placed = rank_ranges(count, better), []
    while len(placed) < count:
        placed.append(
            next(
                n for n in range(count)
                if n not in placed and all(w in placed for w, loser in better if loser == n)
            )
        )  # fmt: skip
    assert all(low <= 1 + placed.index(n) <= high for n, (low, high) in enumerate(found))


def test_better_than_the_better_is_better():
    """By pairs alone the first and the last would have no rank in common, yet not be told apart."""
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (3, 5), (4, 5)]
    assert rank_ranges(6, pairs) == [(1, 1), (2, 6), (2, 6), (2, 5), (2, 5), (4, 6)]
    assert rank_ranges(3, [(0, 1), (1, 2), (2, 0)]) == [(1, 3)] * 3


# --- ranks of rows


def rows_of(matrix, labels="same"):
    return [
        (str(number), {seed: Run(value, labels) for seed, value in enumerate(scores)})
        for number, scores in enumerate(matrix)
    ]


matrices = st.tuples(st.integers(2, 5), st.integers(3, 6), st.integers(0, 2**32 - 1)).map(
    lambda shape: (
        70
        + np.random.default_rng(shape[2]).integers(0, 4, size=(shape[0], 1))
        + np.random.default_rng(shape[2] + 1).normal(size=shape[:2])
    )
)


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_ranks_are_those_of_scipy_and_statsmodels(matrix):
    pairs = list(combinations(range(len(matrix)), 2))
    p = [stats.ttest_rel(matrix[a], matrix[b]).pvalue for a, b in pairs]
    significant = multipletests(p, alpha=0.05, method="holm")[0]
    means = matrix.mean(axis=1)
    better = [
        (a, b) if means[a] > means[b] else (b, a)
        for (a, b), told in zip(pairs, significant, strict=True)
        if told
    ]
    ranking = rank("targeted", rows_of(matrix))
    assert ranking.ranks == ranks_by_hand(len(matrix), better)[0]
    assert [c.p for c in ranking.comparisons] == pytest.approx(p)
    assert [c.distinct for c in ranking.comparisons] == significant.tolist()
    for (a, b), comparison in zip(pairs, ranking.comparisons, strict=True):
        assert comparison.difference == pytest.approx(abs(means[a] - means[b]))
        assert {comparison.first, comparison.second} == {str(a), str(b)}
        assert means[int(comparison.first)] >= means[int(comparison.second)]


@given(matrices, st.randoms())
def test_ranks_do_not_depend_on_the_order_of_rows(matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    there = rank("targeted", rows_of(matrix)).ranks
    shuffled = rank("targeted", rows_of(matrix[order])).ranks
    assert shuffled == [there[number] for number in order]


def test_rows_that_cannot_be_told_apart_share_a_rank():
    noise = np.random.default_rng(0).normal(size=(2, 6))
    ranking = rank("targeted", rows_of([80 + noise[0], 80 + noise[1], 60 + noise[1]]))
    assert ranking.ranks == [(1, 2), (1, 2), (3, 3)]


def test_rows_that_always_differ_by_as_much_are_told_apart():
    base = np.array([70.0, 71.5, 69.0])
    ranking = rank("targeted", rows_of([base, base - 1, base]))
    assert ranking.ranks == [(1, 2), (3, 3), (1, 2)]
    assert [c.effect_size for c in ranking.comparisons] == [None] * 3


def test_other_attacked_labels_are_not_compared():
    one, two = rows_of([[70.0] * 4, [60.0] * 4])
    other = ("1", {seed: Run(60.0 + seed, "same" if seed < 2 else "other") for seed in range(4)})
    found = rank("targeted", [one, other])
    assert found.ranks == [None, None]
    assert found.reason == "2 seeds with the same attacked labels in common, ranks need 3"
    assert rank("targeted", [one, two]).reason == ""
    assert rank("targeted", [one]).reason == "nothing to compare"
    unknown = ("1", {seed: Run(60.0 + seed, None) for seed in range(4)})
    assert rank("targeted", [one, unknown]).ranks == [(1, 1), (2, 2)]


def test_one_row_that_failed_takes_no_rank_from_the_others():
    rows = rows_of([[80.0, 81.0, 82.5], [70.0, 71.5, 72.0]])
    found = rank("targeted", [rows[0], ("lost", {}), rows[1]])
    assert found.ranks == [(1, 1), None, (2, 2)]
    assert [(c.first, c.second) for c in found.comparisons] == [("0", "1")]
    assert found.reason == "left out of the ranks: lost (0 seeds, ranks need 3)"


def test_rows_in_most_of_the_bad_pairs_are_left_out_first():
    whole = rows_of([[80.0] * 4, [70.0] * 4, [60.0] * 4])
    other = ("other", {seed: Run(90.0, "same" if seed < 1 else "other") for seed in range(4)})
    short = ("short", {seed: Run(90.0, "same") for seed in range(2)})
    found = rank("targeted", [other, *whole, short])
    assert found.ranks == [None, (1, 1), (2, 2), (3, 3), None]
    assert found.reason == (
        "left out of the ranks: other (1 seed with the same attacked labels in common, ranks need 3)"
        ", short (2 seeds, ranks need 3)"
    )


@given(st.lists(st.sets(st.integers(0, 5)), min_size=2, max_size=6))
def test_whatever_ran_only_rows_that_share_enough_are_ranked(ran):
    rows = [(str(n), {s: Run(80.0 + s * n, "same") for s in seeds}) for n, seeds in enumerate(ran)]
    found = rank("targeted", rows)
    ranked = [seeds for seeds, of in zip(ran, found.ranks, strict=True) if of is not None]
    assert all(len(one & two) >= 3 for one, two in combinations(ranked, 2))
    possible = any(len(one & two) >= 3 for one, two in combinations(ran, 2))
    assert len(ranked) >= 2 if possible else not ranked
    assert bool(found.reason) == (len(ranked) < len(ran))


@pytest.mark.parametrize("name", ["epr", "iu"])
def test_a_board_says_who_is_left_out_and_ranks_the_rest(name):
    done = [
        judged(fake(value / 100, 0.5, seed=seed, defense=defense))
        for defense, values in (("an", [80, 81, 82.5]), ("wan", [70, 71.5, 72]))
        for seed, value in enumerate(values)
    ]
    lost = [
        fake(0.5, 0.5, seed=seed, defense=name).model_copy(
            update={"status": "failed", "test": None, "reason": "no number of positives"}
        )
        for seed in range(3)
    ]
    (board,) = boards([*done, *lost])
    assert [row.rank is None for row in board.rows] == [False, False, True]
    said = f"left out of the ranks: {name} (0 seeds, ranks need 3)"
    assert list(board.unranked.values()) == [said]
    assert f"under targeted:rate=0.4, {said}" in remarks(board)
    assert said in to_markdown([board])


def test_noise_alone_is_seldom_told_apart():
    """Family-wise at 5 %: more than the bound happens once in a thousand such tests."""
    rng = np.random.default_rng(0)
    alarms = sum(
        any(c.distinct for c in rank("t", rows_of(80 + rng.normal(size=(4, 5)))).comparisons)
        for _ in range(400)
    )
    assert 0 < alarms <= stats.binom.ppf(0.999, 400, 0.05)


# --- reasons not to trust


def judged(record, **scores):
    values = {"map": 0.5, "map_micro": 0.5, "map_voc_11_point": 0.5, "per_class": {"a": 0.5, "b": 0.5},
              "undefined_classes": 0, **scores}  # fmt: skip
    return record.model_copy(update={"test": CleanScores(**values)})


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({}, None),
        ({"constant_classes": 1}, None),
        ({"constant_classes": 2}, "every prediction is constant in 3 of 3 seeds"),
        ({"mean_prediction": 0.4, "prevalence": 0.1}, None),
        (
            {"mean_prediction": 0.41, "prevalence": 0.1},
            "mean prediction 0.410 is far off the prevalence 0.100",
        ),
        (
            {"mean_prediction": 0.02, "prevalence": 0.1},
            "mean prediction 0.020 is far off the prevalence 0.100",
        ),
        ({"mean_prediction": 0.4, "prevalence": 0.0}, None),
    ],
)
def test_doubts(scores, reason):
    found = [judged(fake(0.5, 0.5, seed=seed), **scores) for seed in range(3)]
    assert reliability_warnings(found, found) == ([] if reason is None else [reason])
    (board,) = boards(found)
    assert board.rows[0].unreliable == ([] if reason is None else [reason])


def test_divergence_and_few_seeds_are_doubts():
    done = [judged(fake(0.5, 0.5, seed=seed)) for seed in range(2)]
    diverged = fake(0.5, 0.5, seed=2).model_copy(
        update={"status": "failed", "test": None, "reason": "TrainingDivergedError: not finite"}
    )
    found = reliability_warnings([*done, diverged], done)
    assert found == ["2 seeds, fewer than 3", "training diverged in 1 of 3 runs"]


# --- intervals over images


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_map_interval_equals_a_loop_over_scikit_learn(seed, masked):
    rng = np.random.default_rng(seed)
    scores, labels = rng.random((30, 2)), rng.random((30, 2)) < 0.5
    scored = rng.random((30, 2)) < 0.8 if masked else None
    found = map_interval(scores, labels, scored=scored, resamples=20, seed=3)
    draws, values = generator(3, "images"), []
    for _ in range(20):
        rows = bounded(draws, 30, 30)
        of_class = []
        for column in range(2):
            keep = rows if scored is None else rows[scored[rows, column]]
            if labels[keep, column].any():
                of_class.append(average_precision_score(labels[keep, column], scores[keep, column]))
        values.append(np.mean(of_class))
    assert found == pytest.approx(np.percentile(values, [2.5, 97.5]))


def test_map_interval_covers_what_more_images_would_show():
    """Nominally 95 %; percentile intervals of a skewed measure fall a little short of it."""
    rng = np.random.default_rng(0)

    def drawn(count):
        labels = rng.random((count, 3)) < 0.3
        return rng.normal(size=(count, 3)) + 1.5 * labels, labels

    scores, labels = drawn(200_000)
    truth = np.mean([average_precision_score(labels[:, c], scores[:, c]) for c in range(3)])
    intervals = [map_interval(*drawn(150), resamples=200) for _ in range(100)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert stats.binom.ppf(0.001, 100, 0.92) <= covered
    assert any(not low <= truth <= high for low, high in intervals)


def test_map_interval_without_resamples_or_positives():
    scores, labels = np.random.default_rng(0).random((10, 2)), np.zeros((10, 2), bool)
    assert map_interval(scores, ~labels, resamples=0) is None
    assert map_interval(scores, labels, resamples=5) is None
