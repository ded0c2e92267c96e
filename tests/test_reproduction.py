from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.paper.comparison import compare, lines, to_markdown, verdict
from labelattack.benchmark.plan.config import Reported, experiment, paper_folder, read_experiment
from labelattack.benchmark.report.plots import draw_curves
from labelattack.benchmark.store.record import Removal
from labelattack.errors import ParameterError, StoreError, UnknownNameError
from labelattack.metrics.statistics import rank_agreement
from tests.test_benchmark import diagnosis, fake

PAPERS = sorted(path.stem for path in paper_folder().glob("*.toml"))


def kendall(first, second):
    """Kendall's tau-b by its definition, pair by pair."""
    signs = [
        (np.sign(a - b), np.sign(c - d))
        for (a, c), (b, d) in combinations(zip(first, second, strict=True), 2)
    ]
    left, right = (sum(abs(pair[side]) for pair in signs) for side in (0, 1))
    return sum(a * b for a, b in signs) / np.sqrt(left * right) if left * right else None


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=6).flatmap(
        lambda expected: st.tuples(
            st.just(expected),
            st.lists(
                st.lists(st.integers(0, 5), min_size=len(expected), max_size=len(expected)),
                min_size=1,
                max_size=4,
            ),
        )
    )
)
def test_rank_agreement_is_kendalls_tau_of_means(case):
    expected, rows = case
    measured = np.array(rows, dtype=float)
    found = rank_agreement(expected, measured, resamples=20)
    by_hand = kendall(expected, measured.sum(axis=0))
    assert (found.tau is None) == (by_hand is None)
    if by_hand is not None:
        assert found.tau == pytest.approx(by_hand)
    if found.interval is not None:
        assert -1 - 1e-9 <= found.interval[0] <= found.interval[1] <= 1 + 1e-9


def test_rank_agreement_interval_tells_certain_from_uncertain():
    certain = rank_agreement([1, 2, 3], np.array([[1.0, 2, 3]] * 5) + np.arange(5)[:, None] / 10)
    assert certain.tau == 1 and certain.interval == (1, 1)
    noisy = np.random.default_rng(0).normal(size=(5, 3))
    low, high = rank_agreement([1, 2, 3], noisy).interval
    assert low < high


REPORTED = Reported(
    dataset="digits",
    attacks=("targeted:rate=0.2", "targeted:rate=0.4"),
    values={"an": (80.0, 70.0), "wan": (85.0, 75.0)},
)


def runs():
    found = []
    for seed in (0, 1):
        for attack, an, wan in (
            ("targeted:rate=0.4", 0.70, 0.72),
            ("targeted:rate=0.4,scope=image", 0.80, 0.78),
        ):
            for defense, value in (("an", an), ("wan", wan)):
                found.append(
                    fake(
                        value + 0.01 * seed, 0.5, seed=seed, attack=attack, defense=defense, lr=1e-2
                    )
                )
                # A recipe that tests better but validates worse must not be the one that counts.
                found.append(fake(0.99, 0.1, seed=seed, attack=attack, defense=defense, lr=1e-3))
    return found


def test_comparison_by_hand():
    (comparison,) = compare("T", [REPORTED], runs())
    first, second = comparison.columns  # both scopes of the one rate that was run
    assert "scope=dataset" in first.attack and "scope=image" in second.attack
    an, wan = first.entries
    assert (an.reported, wan.reported) == (70.0, 75.0)
    assert an.measured == pytest.approx(70.5) and an.difference == pytest.approx(0.5)
    assert wan.interval == pytest.approx(12.706 * 0.5, rel=1e-3)
    assert (first.tau, first.order_holds, second.tau, second.order_holds) == (1, True, -1, False)
    assert first.tau_interval == (1, 1) and first.seeds == 2
    assert (comparison.held, comparison.front, comparison.tau) == (1, 1, 0)
    assert "holds in 1 of 2 columns" in verdict(comparison)
    table = lines(comparison)
    assert len(table) == 4 and table[0][3:6] == ["70.0", "70.5 ± 6.4", "+0.5"]
    assert to_markdown([comparison]).count("\n| ") == 6


def test_less_robustness_is_better_and_absent_values_are_not_invented():
    table = Reported(
        dataset="digits",
        measure="robustness",
        attacks=("targeted",),
        values={"an": (0.3,), "wan": (0.2,), "role": (0.1,)},
    )
    records = [
        fake(0.5, 0.5, defense="an").model_copy(
            update={"outcomes": {"d-score": diagnosis(0.4, 0.9)}}
        ),
        fake(0.5, 0.5, defense="wan").model_copy(
            update={"outcomes": {"d-score": diagnosis(0.5, 0.9)}}
        ),
    ]
    ((column,),) = (c.columns for c in compare("T", [table], records))
    assert column.best_reported.startswith("role") and column.best_measured.startswith("an")
    assert column.entries[2].measured is None and column.entries[2].difference is None
    assert column.tau == -1  # of the two that were measured
    assert compare("T", [table.model_copy(update={"dataset": "voc"})], records) == []


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("scale", [None, "small"])
def test_specs_of_the_paper_are_whole(name, scale):
    found = experiment(read_experiment(paper_folder() / f"{name}.toml", scale))
    assert found.seeds >= 5 and len(found.lrs) == 4 and found.batch_sizes == (8, 16)
    for grid in found.grids():
        assert grid.cells("x")
    for table in found.reported:
        assert not {table.dataset} - {spec.partition(":")[0] for spec in found.datasets} or scale
        assert set(table.values) <= set(found.defenses) and set(table.attacks) <= set(found.attacks)


def test_table_three_derives_the_d_score():
    found = experiment(read_experiment(paper_folder() / "table3.toml"))
    values = {(t.dataset, t.measure): t.values for t in found.reported}
    for dataset in ("coco", "voc"):
        for defense, (score,) in values[dataset, "d_score"].items():
            fit, robust = (values[dataset, m][defense][0] for m in ("fitness", "robustness"))
            assert score == pytest.approx(fit - robust)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("atacks = []", UnknownNameError, "'spec.toml': 'atacks'; did you mean 'attacks'"),
        ("epochs = 0", ParameterError, "'spec.toml': epochs must be greater than or equal to 1, got 0"),
        ("lrs = [1e-3, -1]", ParameterError, "'spec.toml': lrs.1 must be greater than 0"),
        ("protocol = 3", ParameterError, "'spec.toml': protocol must be a valid string, got 3"),
        ("[[reported]]\ndataset='x'\nattacks=['a']\nvalues={an=[1.0, 2.0]}", ParameterError, "must have 1 values for 'an'"),
    ],
)  # fmt: skip
def test_wrong_specs_are_named_by_file_and_key(tmp_path, text, error, message):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(error) as caught:
        experiment(read_experiment(path), origin="spec.toml")
    assert message in str(caught.value)


def test_files_and_scales_that_are_not_there(tmp_path):
    path = tmp_path / "spec.toml"
    with pytest.raises(ParameterError, match="must be a TOML file"):
        read_experiment(path)
    path.write_text("a = [")
    with pytest.raises(ParameterError, match="must be TOML"):
        read_experiment(path)
    path.write_text("seeds = 9\n[scale.small]\nseeds = 2\n")
    assert read_experiment(path) == {"seeds": 9} and read_experiment(path, "small") == {"seeds": 2}
    with pytest.raises(UnknownNameError, match="did you mean 'small'"):
        read_experiment(path, "smal")


def test_curves_are_drawn_or_refused(tmp_path):
    records = [
        fake(0.9 - rate / 2, 0.5, attack=f"{attack}:rate={rate}", defense=defense).model_copy(
            update={
                "removal": Removal(
                    requested_rate=rate,
                    realised_rate=rate,
                    rate_of="labels",
                    positives_removed=rate,
                    q_hat=rate,
                )
            }
        )
        for attack in ("targeted", "random")
        for rate in (0.2, 0.6)
        for defense in ("an", "wan")
    ]
    (board,) = boards([*records, fake(0.95, 0.5, attack="none", defense="bce")])
    draw_curves(tmp_path / "new" / "curves.png", board)
    assert (tmp_path / "new" / "curves.png").stat().st_size > 10_000
    with pytest.raises(StoreError, match="must come from an attack with a rate"):
        draw_curves(tmp_path / "x.png", board.model_copy(update={"curves": []}))
    with pytest.raises(StoreError, match="must end in"):
        draw_curves(tmp_path / "x.nonsense", board)
