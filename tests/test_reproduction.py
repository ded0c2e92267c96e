import json
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.paper import ranges
from labelattack.benchmark.paper.comparison import compare, lines, verdict
from labelattack.benchmark.paper.measured import to_markdown
from labelattack.benchmark.plan.config import (
    Reported,
    experiment,
    paper_folder,
    read_experiment,
    resolved,
)
from labelattack.benchmark.report.plots import draw_curves
from labelattack.benchmark.store.record import Removal
from labelattack.defenses import registry as defenses
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
@example(([2, 3, 0, 0, 1, 1], [[0, 2, 0, 0, 0, 2], [0, 2, 0, 0, 0, 2]]))  # every resample alike
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
    assert to_markdown([comparison.table()]).count("\n| ") == 6


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
    seeds = 3 if name == "single-positive" else 5  # as in those papers
    assert found.seeds == seeds and len(found.lrs) == 4 and found.batch_sizes == (8, 16)
    ran = {}
    for grid in found.grids():
        cells = grid.cells("x")
        ran[grid.dataset.partition(":")[0]] = {cell.defense for cell in cells}
    for table in found.reported:
        assert table.dataset in ran or scale
        reported = {str(defenses.resolve(spec)) for spec in table.values}
        assert reported <= ran.get(table.dataset, reported)
        assert set(table.attacks) <= set(found.attacks)


# --- numbers of several papers


def sourced(source, values, **changes):
    attacks = ("single-positive",)
    table = {"dataset": "digits", "attacks": attacks, "source": source, "selection": "clean"}
    return Reported(**table | {"values": values} | changes)


FIELD = (
    sourced("First", {"an": (70.0,), "wan": (60.0,), "bce": (90.0,)}),
    sourced("Second", {"an": (72.0,), "role": (80.0,)}, selection="test"),
    sourced("Third", {"an": (71.0,)}, selection="not stated"),
    sourced("Elsewhere", {"an": (1.0,)}, dataset="voc"),
)


def field_runs(an=0.715, wan=0.55, **changes):
    """Two seeds half a point on either side of each mean."""
    means = (("none", "bce", 0.93), ("single-positive", "an", an), ("single-positive", "wan", wan))
    return [
        fake(mean + side, 0.5, seed=seed, attack=attack, defense=defense, **changes)
        for attack, defense, mean in means
        for seed, side in enumerate((-0.005, 0.005))
    ]


def test_range_over_papers_by_hand():
    (found,) = ranges.compare("T", FIELD, field_runs(selection="clean"))
    assert found.attack.startswith("single-positive") and found.measure == "map"
    assert found.measured_on.endswith("epochs · clean validation labels")
    bce, an, wan, role = found.entries  # the reference, then as the papers name them
    assert [entry.defense.partition(":")[0] for entry in found.entries] == [
        "bce", "an", "wan", "role",
    ]  # fmt: skip
    assert (an.low, an.high, an.difference) == (70.0, 72.0, 0)
    assert an.measured == pytest.approx(71.5) and an.interval == pytest.approx(6.353, rel=1e-3)
    assert [(c.value, c.source, c.selection) for c in an.reported] == [
        (70.0, "First", "clean"), (72.0, "Second", "test"), (71.0, "Third", "not stated"),
    ]  # fmt: skip
    assert (wan.low, wan.high) == (60.0, 60.0) and wan.difference == pytest.approx(-5)
    assert bce.measured == pytest.approx(93) and bce.difference == pytest.approx(3)  # no attack
    assert (role.measured, role.interval, role.difference) == (None, None, None)


@pytest.mark.parametrize(
    ("mean", "difference"), [(0.70, 0), (0.72, 0), (0.6999, -0.01), (0.7201, 0.01), (0.4, -30)]
)
def test_difference_is_from_the_nearest_end_of_the_range(mean, difference):
    (found,) = ranges.compare("T", FIELD, field_runs(an=mean))
    an = next(entry for entry in found.entries if entry.defense.startswith("an"))
    assert an.difference == pytest.approx(difference, abs=1e-9)


def test_range_as_people_read_it():
    (found,) = ranges.compare("Field", FIELD, field_runs())
    title, about, columns, rigid, rows, remarks = found.table()
    assert columns == (
        "defense", "reported", "selected on", "measured", "difference", "sources",
    )  # fmt: skip
    assert (
        rigid == len(columns) - 1
        and title == "Field"
        and about.startswith("single-positive, mAP, measured on digits")
    )
    by_defense = {row[0]: row[1:] for row in rows}
    assert by_defense == {
        "bce": ["90.0 (1 paper)", "clean", "93.0 ± 6.4", "+3.0", "90.0 [1]"],
        "an": [
            "70.0 to 72.0 (3 papers)", "clean, test, not stated", "71.5 ± 6.4", "0",
            "70.0 [1], 72.0 [2], 71.0 [3]",
        ],
        "wan": ["60.0 (1 paper)", "clean", "55.0 ± 6.4", "-5.0", "60.0 [1]"],
        "role": ["80.0 (1 paper)", "test", "-", "-", "80.0 [2]"],
    }  # fmt: skip
    assert remarks == ["1. First", "2. Second", "3. Third"]
    text = to_markdown([found.table()])
    assert text.startswith(f"**Field**: {about}\n\n| defense | reported |")
    assert text.count("\n| ") == 6 and "\n\n1. First\n2. Second\n3. Third\n" in text


def test_ranges_are_of_what_was_run_and_reported():
    runs = field_runs()
    assert ranges.compare("T", FIELD[3:], runs) == []
    other = [sourced("First", {"an": (70.0,)}, attacks=("targeted",))]
    assert ranges.compare("T", other, runs) == []
    both = [*FIELD, sourced("Fourth", {"an": (3.0,)}, attacks=("none",), measure="map")]
    assert [found.attack for found in ranges.compare("T", both, runs)] == [
        "none",
        runs[2].cell.attack,
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selection": None}, "reported.0 must have a source and a selection, or neither, got source alone"),
        ({"source": ""}, "reported.0 must have a source and a selection, or neither, got selection alone"),
        ({"selection": "validation"}, "reported.0.selection must be 'attacked', 'clean', 'last', 'test' or 'not stated', got 'validation'"),
        ({"values": {"an": [1.0, 2.0]}}, "reported.0 must have 1 values for 'an', one an attack, got 2"),
        ({"values": {"an": [float("nan")]}}, "reported.0.values.an.0 must be a finite number, got nan"),
        ({"selecton": "last"}, "unknown key of 'spec.toml': reported.0: 'selecton'; did you mean 'selection'?"),
        ({"source": "", "selection": None}, "reported must have a source for every table or for none, got none for 'digits'"),
        ({"source": "B"}, "reported must have one number of a source for 'an' on 'digits', got two of 'B'"),
    ],
)  # fmt: skip
def test_malformed_reported_tables_are_refused(changes, message):
    table = {"dataset": "digits", "attacks": ["none"], "values": {"an": [1.0]}, "selection": "last"}
    tables = [table | {"source": "A"} | changes, table | {"source": "B"}]
    with pytest.raises((ParameterError, UnknownNameError)) as caught:
        experiment({"reported": tables}, origin="spec.toml")
    assert str(caught.value) == (message if "spec.toml" in message else f"'spec.toml': {message}")


def test_defenses_may_name_their_dataset():
    """As the authors' settings for each have its name."""
    given = {
        "datasets": ["voc:year=2012", "cub"],
        "model": "tiny",
        "lrs": [0.1],
        "batch_sizes": [8],
    }
    given["defenses"] = ["an", "em:preset={dataset}"]
    voc, cub = experiment(given).grids()
    assert (voc.defenses, cub.defenses) == (("an", "em:preset=voc"), ("an", "em:preset=cub"))
    an = str(defenses.resolve("an"))
    assert resolved(experiment(given)).defenses == (an, "em:preset={dataset}")
    one = resolved(experiment(given | {"datasets": ["cub"]}))
    assert one.defenses == (an, str(defenses.resolve("em:preset=cub")))
    (digits,) = experiment(given | {"datasets": ["digits"]}).grids()
    with pytest.raises(ParameterError, match="'preset' of defense 'em' must be .*, got 'digits'"):
        digits.cells("x")


def test_single_positive_has_the_authors_settings_of_each_dataset():
    found = experiment(read_experiment(paper_folder() / "single-positive.toml"))
    assert found.selection == "clean"
    assert {table.selection for table in found.reported} == {"clean", "not stated"}
    for grid in found.grids():
        name = grid.dataset.partition(":")[0]
        presets = {
            dict(defenses.resolve(spec).params).get("preset", name) for spec in grid.defenses
        }
        assert presets == {name} and grid.attacks == ("single-positive",)


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


def test_a_dry_run_counts_cells_and_names_absent_data_without_reading_any(
    told, tmp_path, monkeypatch
):
    monkeypatch.setenv("LABELATTACK_DATA", str(tmp_path))
    monkeypatch.setattr("labelattack.datasets.voc.PascalVoc.load", lambda self: pytest.fail("read"))
    spec = experiment(read_experiment(paper_folder() / "table1.toml", "small"))
    cells = sum(len(grid.cells("x")) for grid in spec.grids())
    code, out, err = told("reproduce", "table1", "--dry-run", "--out", "new")
    assert code == 0 and re.search(rf"linear .*\b8 .*\b5 .*\b5 .*\b{cells} ", out)
    assert "VOC2007/ImageSets/Main" in out and err.startswith("get it from http://host.robots")
    assert not (tmp_path / "new").exists()
    code, out, _ = told("reproduce", "table1", "--dry-run", "--scale", "paper", "--json")
    plan = json.loads(out)
    assert [row["dataset"] for row in plan] == ["coco:year=2014", "voc:year=2012", "nus-wide"]
    assert code == 0 and all(row["cells"] == cells and row["missing"] for row in plan)
