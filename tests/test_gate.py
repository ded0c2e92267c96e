"""Regressions against a baseline: statistics, exit codes, files, and the measured rates."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labelattack import defenses
from labelattack.benchmark.execution.scheduler import run_grid
from labelattack.benchmark.gate.baseline import (
    Baseline,
    baseline_of,
    differences,
    read_baseline,
    write_baseline,
)
from labelattack.benchmark.gate.check import Limits, check_store, compare
from labelattack.benchmark.gate.formats import to_markdown, to_text, write_junit
from labelattack.benchmark.store.record import Removal
from labelattack.benchmark.store.store import RecordStore
from labelattack.cli import main
from labelattack.cli.check import _update
from labelattack.errors import StoreError
from labelattack.registry.plugins import load_plugin
from labelattack.registry.registry import Registry
from tests.test_benchmark import cells, diagnosis, fake

pytest_plugins = ["pytester"]

FREE = Limits(tolerance=0)


def removal(labels):
    return Removal(
        requested_rate=0.4, realised_rate=0.4, rate_of="positives", positives_removed=0.4, q_hat=0.9,
        attacked_labels=labels,
    )  # fmt: skip


def runs(maps, start=0, labels="same", **changes):
    """Records of one row, a seed each, with mAP in points."""
    return [
        fake(value / 100, 0.5, seed=seed, **changes).model_copy(update={"removal": removal(labels)})
        for seed, value in enumerate(maps, start)
    ]


def change_of(then, now, limits=FREE):
    (found,) = compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), limits).changes
    return found


# --- what is tested


def test_same_seeds_are_paired_as_scipy_does():
    rng = np.random.default_rng(0)
    then = 80 + rng.normal(size=6).round(3)
    now = then - 0.8 + rng.normal(scale=0.5, size=6).round(3)
    found = change_of(runs(then), runs(now))
    expected = stats.ttest_rel(then, now, alternative="greater")
    both = stats.ttest_rel(then, now).confidence_interval(0.95)
    assert (found.test, found.seeds) == ("paired", (6, 6))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.drop == pytest.approx(np.mean(then - now))
    assert found.interval == pytest.approx((both.high - both.low) / 2)


@pytest.mark.parametrize("difference", ["seeds", "labels", "half of the seeds"])
def test_what_is_not_the_same_is_compared_by_welch(difference):
    rng = np.random.default_rng(1)
    then, now = 80 + rng.normal(size=4).round(3), 79 + 2 * rng.normal(size=7).round(3)
    start = {"seeds": 20, "labels": 0, "half of the seeds": 2}[difference]
    labels = "other" if difference == "labels" else "same"
    found = change_of(runs(then), runs(now, start=start, labels=labels))
    expected = stats.ttest_ind(then, now, equal_var=False, alternative="greater")
    assert (found.test, found.seeds) == ("Welch", (4, 7))
    assert found.p == pytest.approx(expected.pvalue)
    both = stats.ttest_ind(then, now, equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx((both.high - both.low) / 2)


def test_fewer_of_the_same_seeds_are_paired_over_those():
    then = [80.0, 81.5, 79.2, 90.0]
    now = [79.0, 80.1, 78.6]
    found = change_of(runs(then), runs(now))
    assert (found.test, found.seeds) == ("paired", (3, 3))
    assert found.p == pytest.approx(stats.ttest_rel(then[:3], now, alternative="greater").pvalue)
    assert found.drop == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("then", "now", "verdict", "p"),
    [
        ([80.0, 81.0], [80.0, 81.0], "equal", 1.0),
        ([80.0], [80.0], "equal", 1.0),
        ([80.0, 81.0, 83.0], [79.0, 80.0, 82.0], "regression", 0.0),  # by one point, always
        ([80.0, 81.0, 83.0], [81.0, 82.0, 84.0], "improved", 1.0),
        ([80.0, 80.0], [79.0, 79.0], "regression", 0.0),
    ],
)  # fmt: skip
def test_degenerate_scores(then, now, verdict, p):
    found = change_of(runs(then), runs(now))
    assert (found.verdict, found.p_corrected, found.interval) == (verdict, p, 0.0)


@pytest.mark.parametrize(("now", "p"), [([80.0] * 3, 0.5), ([79.0] * 3, 0.0), ([81.0] * 3, 1.0)])
def test_two_sides_that_do_not_scatter_and_share_no_seed(now, p):
    found = change_of(runs([80.0] * 3), runs(now, start=10))
    assert (found.test, found.p) == ("Welch", p)
    assert found.verdict == {0.5: "not told from noise", 0.0: "regression", 1.0: "improved"}[p]


def test_one_seed_cannot_tell():
    found = change_of(runs([80.0]), runs([79.9]))
    assert found.verdict == "cannot compare"
    assert found.reason == "1 seed cannot tell a change from noise, at least 2 are needed"


def test_a_certain_drop_within_tolerance_is_no_regression():
    then, now = runs([80.0, 81.0, 83.0]), runs([79.6, 80.6, 82.6])
    assert change_of(then, now, Limits(tolerance=0.5)).verdict == "within tolerance"
    assert change_of(then, now, Limits(tolerance=0.3)).verdict == "regression"


def test_a_large_drop_within_noise_is_no_regression():
    found = change_of(runs([80.0, 90.0, 70.0]), runs([60.0, 91.0, 71.0]))
    assert found.drop > 5 and found.verdict == "not told from noise"


def test_correction_is_over_all_rows_and_measures():
    """The p-values are Holm's of all; a row alone would count, among six it does not."""
    rng = np.random.default_rng(3)
    attacks = [f"targeted:rate={rate}" for rate in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    noise = {attack: rng.normal(scale=0.3, size=(2, 5)) for attack in attacks}
    then = [r for attack in attacks for r in runs(80 + noise[attack][0], attack=attack)]
    lost = dict.fromkeys(attacks, 0.0) | {attacks[0]: 0.75}
    now = [
        r for attack in attacks for r in runs(80 - lost[attack] + noise[attack][1], attack=attack)
    ]
    check = compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), FREE)
    from statsmodels.stats.multitest import multipletests

    expected = multipletests([change.p for change in check.changes], method="holm")[1]
    assert [change.p_corrected for change in check.changes] == pytest.approx(expected.tolist())
    worst = check.changes[0]
    assert worst.p < 0.05 < worst.p_corrected and worst.verdict == "not told from noise"


def with_d_score(records, robust, **how):
    return [
        record.model_copy(update={"outcomes": {"d-score": diagnosis(robust + record.cell.seed / 1e4, 0.9, **how)}})
        for record in records
    ]  # fmt: skip


def test_robustness_is_better_lower_and_counts_in_hundredths():
    measures = ("robustness", "fitness", "d_score")
    limits = Limits(measures=measures)

    def check(before, after, **how):
        then = baseline_of(with_d_score(runs([80.0, 80.0, 81.0]), before), measures)
        now = baseline_of(with_d_score(runs([80.0, 80.0, 81.0]), after, **how), measures)
        return {change.measure: change for change in compare(then, now, limits).changes}

    worse = check(0.20, 0.23)
    assert worse["robustness"].verdict == worse["d_score"].verdict == "regression"
    assert worse["robustness"].drop == pytest.approx(3.0)
    assert worse["fitness"].verdict == "equal"
    assert check(0.20, 0.18)["robustness"].verdict == "improved"
    assert check(0.20, 0.204)["robustness"].verdict == "within tolerance"
    other = check(0.20, 0.20, grid=4)["robustness"]
    assert other.reason == "D-Score measured by version 1 then, version 1, grid=4 now"


# --- what cannot be compared


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fingerprint": "x"}, r"fingerprint \w+ then, x now"),
        ({"protocol": "finetune"}, "protocol linear then, finetune now"),
        ({"selection": "clean"}, "selection attacked then, clean now"),
    ],
)
def test_other_boards_say_in_what_they_differ(change, reason):
    found = change_of(runs([80.0, 81.0]), runs([80.0, 81.0], **change))
    assert found.verdict == "cannot compare" and re.fullmatch(reason, found.reason)


def test_an_error_in_one_row_does_not_hide_a_regression_in_another():
    then = [*runs([80.0, 81.0, 83.0]), *runs([70.0, 71.0, 73.0], attack="random")]
    now = runs([75.0, 76.0, 78.5])
    check = compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), Limits())
    assert {change.verdict for change in check.changes} == {"regression", "cannot compare"}
    assert check.exit_code == 1
    for text in (to_text(check), to_markdown(check)):
        assert "REGRESSION" in text and "not run now" in text


def of_version(version, maps, kind="defense", labels="same", created=""):
    """Records of one row, of which one component has another version."""
    (of,) = {tuple(record.cell.versions.items()) for record in runs(maps)}
    found = runs(maps, labels=labels, versions={**dict(of), kind: version})
    return [record.model_copy(update={"created": created}) for record in found]


def check_of(then, now, limits=FREE):
    return compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), limits)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ([80.0, 81.0, 82.0], "equal"),
        ([80.1, 80.9, 82.0], "not told from noise"),
        ([75.0, 76.1, 77.3], "regression"),
        ([84.0, 85.1, 86.3], "improved"),
    ],
)
def test_an_edited_loss_is_compared_and_both_versions_are_shown(tmp_path, now, verdict):
    check = check_of(runs([80.0, 81.0, 82.0]), of_version("2", now))
    (found,) = check.changes
    assert (found.verdict, found.test) == (verdict, "paired")
    assert found.versions == ("attack 1, defense 1", "attack 1, defense 2")
    write_junit(tmp_path / "j.xml", check)
    written = (tmp_path / "j.xml").read_text(encoding="utf-8")
    told = "versions attack 1, defense 1 then, attack 1, defense 2 now"
    assert all(told in text for text in (to_text(check), to_markdown(check), written))
    assert check.notes == []


def test_another_version_of_the_attack_is_paired_where_labels_are_known_to_be_equal():
    def test_of(labels):
        return change_of(runs([80.0, 81.0]), of_version("2", [79.0, 80.5], "attack", labels)).test

    assert [test_of(labels) for labels in ("same", "other", None)] == ["paired", "Welch", "Welch"]


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_another_version_of_dataset_or_model_cannot_be_compared(kind):
    found = change_of(runs([80.0, 81.0]), of_version("2", [80.0, 81.0], kind))
    assert found.verdict == "cannot compare" and f"{kind} 2" in found.reason


def test_same_versions_is_the_strict_mode():
    then, now = runs([80.0, 81.0, 82.0]), of_version("2", [80.0, 81.0, 82.0])
    check = check_of(then, now, Limits(same_versions=True))
    (found,) = check.changes
    assert found.reason == "versions attack 1, defense 1 then, attack 1, defense 2 now"
    assert check.exit_code == 2
    assert check.notes == ["not in the baseline: an under targeted:rate=0.4; --update adds it"]
    assert check_of(then, then, Limits(same_versions=True)).exit_code == 0


def test_a_baseline_of_two_versions_of_a_row_is_read_and_the_one_at_hand_is_meant(tmp_path):
    old, new = runs([80.0, 81.0, 82.0]), of_version("2", [70.0, 71.0, 72.0])
    write_baseline(tmp_path / "b.json", baseline_of([*old, *new], ["map"]))
    then = read_baseline(tmp_path / "b.json")
    assert len(then.boards[0].rows) == 2
    assert [c.verdict for c in compare(then, baseline_of(new, ["map"]), FREE).changes] == ["equal"]
    third = compare(then, baseline_of(of_version("3", [70.0, 71.0, 72.0]), ["map"]), FREE)
    assert [change.verdict for change in third.changes] == ["regression", "equal"]


@pytest.fixture
def edited(tmp_path):
    """A baseline, and a store with a row from before an edit and from after it."""
    write_baseline(tmp_path / "b.json", baseline_of(runs([80.0, 81.0, 82.0]), ["map"]))

    def store(before, after):
        kept = RecordStore(tmp_path / "results")
        for record in [*before, *after]:
            kept.add(record)
        return check_store(tmp_path / "results", tmp_path / "b.json", FREE)

    return store


@pytest.mark.parametrize("kind", ["defense", "attack", "dataset", "model"])
def test_a_store_from_before_and_after_an_edit_is_compared_as_the_code_at_hand(
    monkeypatch, edited, kind
):
    monkeypatch.setattr(Registry, "version", lambda self, name: "2" if self.kind == kind else "1")
    lost = [70.0, 71.0, 72.5]
    after = of_version("2", lost, kind, created="2001")
    check = edited(of_version("1", [80.0, 81.0, 82.0], kind, created="2002"), after)
    assert check.exit_code == (1 if kind in ("defense", "attack") else 2)
    assert check.notes[-1] == (
        f"an under targeted:rate=0.4: {kind} 2 is taken, {kind} 1 is left out"
    )


def test_where_no_version_is_at_hand_the_last_that_was_written_is_compared(monkeypatch, edited):
    monkeypatch.setattr(Registry, "at_hand", lambda self, name: False)
    before = of_version("1+b", [80.0, 81.0, 82.0], created="2001")
    check = edited(before, of_version("1+a", [70.0, 71.0, 72.5], created="2002"))
    (found,) = check.changes
    assert found.versions == ("attack 1, defense 1", "attack 1, defense 1+a")


def test_images_that_were_replaced_are_not_compared_with_what_was_left_of_the_old(edited):
    before = [r.model_copy(update={"created": "2001"}) for r in runs([80.0, 81.0, 82.0])]
    after = [r.model_copy(update={"created": "2002"}) for r in runs([80.0], fingerprint="x")]
    (found,) = edited(before, after).changes
    assert re.fullmatch(r"fingerprint \w+ then, x now", found.reason)


def test_an_update_keeps_one_version_of_a_row(edited, stores, monkeypatch):
    monkeypatch.setattr(Registry, "version", lambda self, name: "2" if name == "an" else "1")
    edited(runs([80.0, 81.0, 82.0]), of_version("2", [70.0, 71.0, 72.5]))
    _update(stores / "results", stores / "b.json", FREE)
    (row,) = read_baseline(stores / "b.json").boards[0].rows
    assert row.versions == "attack 1, defense 2"


def test_failed_seeds_are_said():
    then = runs([80.0, 81.0, 82.0])
    failed = then[1].model_copy(
        update={"status": "failed", "test": None, "reason": "TrainingDivergedError: infinite"}
    )
    found = change_of(then, [then[0], failed, then[2]])
    assert found.reason == "seed 1 failed now: TrainingDivergedError: infinite"
    # What had failed before already is no news.
    assert change_of([then[0], failed, then[2]], [then[0], failed, then[2]]).verdict == "equal"


def test_measures_that_a_side_lacks_are_said():
    limits = Limits(measures=("fitness",))
    plain, scored = runs([80.0, 81.0]), with_d_score(runs([80.0, 81.0]), 0.2)
    for then, now, reason in (
        (plain, scored, "the baseline has no fitness of it; --update --measure fitness adds it"),
        (scored, plain, "fitness was not measured now"),
    ):
        (found,) = compare(
            baseline_of(then, ["fitness"]), baseline_of(now, ["fitness"]), limits
        ).changes
        assert found.reason == reason


def test_nothing_compared_is_not_fine():
    empty = Baseline(format=1, libraries={}, boards=[])
    assert compare(empty, baseline_of(runs([80.0]), ["map"]), Limits()).exit_code == 2


# --- files


def test_a_baseline_reads_back_sorted_and_whatever_the_order(tmp_path):
    records = [*runs([80.0, 81.0], attack="random"), *runs([70.0, 71.0])]
    found = baseline_of(records, ["map", "fitness"])
    write_baseline(tmp_path / "b.json", found)
    assert read_baseline(tmp_path / "b.json") == found == baseline_of(records[::-1], ["map"])
    assert list(json.loads((tmp_path / "b.json").read_text())) == ["format", "libraries", "boards"]
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]


def test_recipes_are_selected_on_validation():
    good_on_test = fake(0.9, 0.1)
    recipe = good_on_test.cell.recipe.model_copy(update={"lr": 0.5})
    good_on_val = fake(0.5, 0.8, recipe=recipe)
    (board,) = baseline_of([good_on_test, good_on_val], ["map"]).boards
    assert board.rows[0].scores == {"map": {0: 50.0}}
    assert good_on_val.value("robustness", "d-score") is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:50], "is damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format must be 1, got 2"),
        (lambda text: text.replace('"epochs": 2', '"epochs": "2"'), "boards.0.epochs must be"),
        (lambda text: text.replace('"0": 80.0', '"0": NaN'), "is damaged"),
        (lambda text: text.replace('"labels"', '"label"'), "labels"),
    ],
)
def test_damaged_baselines_are_said(tmp_path, edit, message):
    path = tmp_path / "b.json"
    write_baseline(path, baseline_of(runs([80.0, 81.0]), ["map"]))
    path.write_text(edit(path.read_text()))
    with pytest.raises(StoreError, match=re.escape(message)):
        read_baseline(path)


def test_a_row_given_twice_is_refused(tmp_path):
    found = baseline_of(runs([80.0]), ["map"])
    twice = found.boards[0].model_dump()
    twice["rows"] *= 2
    text = json.dumps({"format": 1, "libraries": {}, "boards": [twice]})
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(StoreError, match="must have each row once"):
        read_baseline(tmp_path / "b.json")
    text = json.dumps({"format": 1, "libraries": {}, "boards": 2 * [found.boards[0].model_dump()]})
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(StoreError, match="must have each board once"):
        read_baseline(tmp_path / "b.json")


@cache
def intact_baseline():
    return baseline_of(runs([80.0, 81.0]), ["map"]).model_dump_json().encode()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 40))
def test_fuzzed_baselines_are_read_or_refused(tmp_path_factory, place, junk, cut):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    text = intact_baseline()
    path.write_bytes(text[:place] + junk + text[place + cut :])
    try:
        assert read_baseline(path).format == 1
    except StoreError as error:
        assert "\n" not in str(error)


def test_differences_name_what_changed():
    old = baseline_of([*runs([80.0, 81.0]), *runs([70.0], attack="random")], ["map"])
    new = baseline_of([*runs([80.0, 82.0]), *runs([70.0], attack="single-positive")], ["map"])
    assert differences(old, old) == []
    assert differences(old, new) == [
        "gone: an under random:rate=0.4",
        "changed: map of an under targeted:rate=0.4: 80.50 (2 seeds) -> 81.00 (2 seeds)",
        "new: an under single-positive",
    ]


def test_differences_name_a_row_by_attack_and_defense_whatever_its_version():
    old, new = runs([80.0, 81.0]), of_version("2", [80.0, 82.0])
    assert differences(baseline_of(old, ["map"]), baseline_of(new, ["map"])) == [
        "changed: versions of an under targeted:rate=0.4: attack 1, defense 1 -> attack 1, defense 2",
        "changed: map of an under targeted:rate=0.4: 80.50 (2 seeds) -> 81.00 (2 seeds)",
    ]


HOSTILE = "<script>alert(1)</script>|`x`*\n[a](b)\x1b[31m"


def hostile_check():
    def named(record):
        return record.model_copy(
            update={"cell": record.cell.model_copy(update={"defense": HOSTILE, "dataset": HOSTILE})}
        )

    then = [named(r) for r in runs([80.0, 81.0])]
    now = [named(r) for r in runs([70.0, 71.0])]
    return compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), Limits())


def test_markdown_takes_names_for_text():
    text = to_markdown(hostile_check())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert (
        "<script>" not in text and "\x1b" not in text and "](b)" not in text.replace("\\](b)", "")
    )


def test_junit_has_a_case_for_each_comparison(tmp_path):
    from junitparser import Error, Failure, JUnitXml

    then = [*runs([80.0, 81.0, 83.0]), *runs([70.0, 71.0, 73.0], attack="random")]
    then += runs([60.0, 61.0, 63.0], attack="single-positive")
    now = [*runs([75.0, 76.0, 78.5]), *runs([70.0, 71.0, 73.0], attack="random")]
    write_junit(
        tmp_path / "new" / "j.xml",
        compare(baseline_of(then, ["map"]), baseline_of(now, ["map"]), Limits()),
    )
    report = JUnitXml.fromfile(str(tmp_path / "new" / "j.xml"))
    assert (report.tests, report.failures, report.errors) == (3, 1, 1)
    results = [type(case.result[0]) if case.result else None for case in next(iter(report))]
    assert sorted(results, key=str) == [Error, Failure, None]
    write_junit(tmp_path / "hostile.xml", hostile_check())
    assert JUnitXml.fromfile(str(tmp_path / "hostile.xml")).failures == 1


# --- how often it is right, on the noise of real runs


@pytest.fixture(scope="module")
def simulate(pytestconfig):
    path = pytestconfig.rootpath / "benchmarks" / "gate" / "simulate.py"
    spec = importlib.util.spec_from_file_location("simulate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["rerun", "anew", "others"])
@pytest.mark.parametrize("count", [20, 200])
def test_noise_alone_alarms_no_more_often_than_stated(simulate, kind, count):
    """At 5 %; more than the bound would happen once in a thousand such tests."""
    found = simulate.alarms(kind, 5, count, FREE, np.random.default_rng(count))
    assert found <= stats.binom.ppf(0.999, count, 0.05)


def alarms_of_a_dozen_rows(pool, count=200):
    """Each row of real noise of its own."""
    rng = np.random.default_rng(0)
    (board,) = pool.boards
    row = board.rows[-1]
    scores = list(row.scores["map"].values())

    def side():
        rows = [
            row.model_copy(
                update={
                    "attack": str(number),
                    "labels": {},
                    "scores": {"map": dict(enumerate(rng.choice(scores, 5, replace=False)))},
                }
            )
            for number in range(12)
        ]
        return pool.model_copy(update={"boards": [board.model_copy(update={"rows": rows})]})

    return sum(compare(side(), side(), FREE).exit_code == 1 for _ in range(count))


def test_that_bound_is_broken_without_correction(simulate, monkeypatch):
    bound = stats.binom.ppf(0.999, 200, 0.05)
    assert alarms_of_a_dozen_rows(simulate.POOLS[0]) <= bound
    monkeypatch.setattr("labelattack.benchmark.gate.check.holm", list)
    assert alarms_of_a_dozen_rows(simulate.POOLS[0]) > bound


@pytest.mark.parametrize("kind", ["rerun", "anew", "others"])
def test_a_planted_drop_of_three_points_is_found(simulate, kind):
    """With ten seeds, as our own continuous integration has; nine times in ten or more."""
    found = simulate.detections(kind, 10, 3.0, 100, np.random.default_rng(0))
    assert found >= 90


def test_documented_rates_are_of_the_simulation(simulate, pytestconfig):
    text = (pytestconfig.rootpath / "benchmarks" / "gate" / "rates.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| [^|]+ \| (3|5|10) \|", line)]
    assert len(rows) == len(simulate.KINDS) * len(simulate.SEEDS)
    assert all(line in text for line in simulate.scatter())


# --- our own baseline


def test_our_own_baseline_is_of_our_own_grid(pytestconfig):
    from labelattack.benchmark.boards.keys import board_key_of
    from labelattack.benchmark.plan.config import experiment, read_experiment
    from labelattack.benchmark.store.record import Record

    root = pytestconfig.rootpath / "benchmarks"
    (grid,) = experiment(read_experiment(root / "ci.toml")).grids()
    (board,) = read_baseline(root / "baselines" / "ci.json").boards
    cells = grid.cells(board.fingerprint)
    records = [Record(key=cell.key, cell=cell, status="done") for cell in cells]
    assert {board_key_of(record) for record in records} == {board.identity}
    rows = {(row.attack, row.defense) for row in board.rows}
    assert rows == {(cell.attack, cell.defense) for cell in cells}
    assert all(sorted(row.scores["map"]) == list(range(10)) for row in board.rows)


# --- as people meet it


@pytest.fixture
def stores(tmp_path):
    """Stores ``then``, ``worse`` by 3 points, and a baseline of the first."""
    then, noise = [80.0, 81.5, 79.3, 80.4], [0.2, -0.1, 0.1, 0.3]
    for name, maps in (
        ("then", then),
        ("worse", [t - 3 + n for t, n in zip(then, noise, strict=True)]),
    ):
        store = RecordStore(tmp_path / name)
        for record in runs(maps):
            store.add(record)
    write_baseline(tmp_path / "b.json", baseline_of(RecordStore(tmp_path / "then"), ["map"]))
    return tmp_path


def test_check_exits_says_and_writes(run, stores):
    fine = run("check", "then", "--baseline", "b.json", cwd=stores)
    assert "no regression: 1 comparisons" in fine.stderr and "equal" in fine.stdout
    worse = run(
        "check", "worse", "--baseline", "b.json", "--junit", "j.xml", cwd=stores, code=1,
        GITHUB_STEP_SUMMARY=str(stores / "summary.md"),
    )  # fmt: skip
    for word in ("REGRESSION", "80.30", "77.4", "4 paired", "p < 0.05", "more than 0.5"):
        assert word in worse.stdout, word
    assert "worst: map of an under targeted:rate=0.4 lost 2.88" in worse.stderr
    assert "<failure" in (stores / "j.xml").read_text()
    assert (stores / "summary.md").read_text().startswith("### regression: 1 comparisons")
    as_json = run("check", "worse", "--baseline", "b.json", "--json", cwd=stores, code=1)
    assert json.loads(as_json.stdout)["changes"][0]["verdict"] == "regression"
    assert run("check", "worse", "--baseline", "b.json", "--tolerance", 4, cwd=stores).stdout


LOSS = """
from labelattack import PartialLabelLoss, defenses
from labelattack.defenses.base import assume_negative


@defenses.register("edited")
class Edited(PartialLabelLoss):
    def loss(self, logits, step):
        return assume_negative(logits, step).mean()
"""


def test_a_loss_is_edited_its_grid_run_again_and_checked(tmp_path, monkeypatch, capsys):
    """A harmless edit first, then one that turns the loss round."""
    monkeypatch.setattr(defenses.registry, "_classes", dict(defenses.registry._classes))
    path, results, baseline = tmp_path / "loss.py", tmp_path / "results", tmp_path / "b.json"

    def edited(old, new):
        text = LOSS.replace(old, new)
        path.write_text(f"{text}# {new}\n", encoding="utf-8")
        for name in [name for name in sys.modules if name.startswith("labelattack_plugin_loss")]:
            del sys.modules[name]
        load_plugin(path)
        grid = cells(defenses=("edited",), seeds=(0, 1, 2), lrs=(0.03,), reference=False)
        assert run_grid(grid, RecordStore(results)) == 3

    def checked(*more, code):
        command = ["labelattack", "check", results, "--baseline", baseline, "--plugin", path, *more]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
        return capsys.readouterr().out

    edited("", "")
    checked("--update", code=0)
    edited("return ", "return ")
    assert re.search(r"3 paired +equal", checked(code=0))
    edited("return ", "return -")
    found = checked(code=1)
    assert re.search(r"3 paired +REGRESSION", found)
    then, now = re.search(r"versions .*(1\+\w+) then, .*(1\+\w+) now", found).groups()
    assert then != now and f"defense {now} is taken, defense {then} is left out" in found
    assert f"defense {then} then" in checked("--same-versions", code=2)


def test_update_says_what_changed(run, stores):
    same = run("check", "then", "--baseline", "b.json", "--update", cwd=stores)
    assert "nothing changed" in same.stdout
    changed = run("check", "worse", "--baseline", "b.json", "--update", cwd=stores)
    assert "80.30 (4 seeds) -> 77.4" in changed.stdout
    assert "no regression" in run("check", "worse", "--baseline", "b.json", cwd=stores).stderr
    (stores / "b.json").write_text("{")
    replaced = run("check", "then", "--baseline", "b.json", "--update", cwd=stores)
    assert "is damaged" in replaced.stderr and "new: 1 rows in 1 boards" in replaced.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["then", "--baseline", "no.json"], "which is not there"),
        (["absent", "--baseline", "b.json"], "has no store.json"),
        (["then", "--baseline", "b.json", "--alpha", 2], "alpha must be less than 1, got 2.0"),
        (["then", "--baseline", "b.json", "--tolerance", "nan"], "tolerance must be"),
        (["then", "--baseline", "b.json", "--measure", "mpa"], "did you mean 'map'"),
        (["then", "--baseline", "b.json", "--measure", "fitness"], "cannot compare"),
        (["then", "--baseline", "b.json", "--update", "--junit", "x"], "--update must stand"),
    ],
)
def test_check_errors_exit_with_two(refused, stores, arguments, message):
    assert message in refused("check", *arguments, cwd=stores)


def test_the_fixture_fails_a_test_with_what_moved(pytester, stores):
    pytester.makeconftest(
        "from labelattack.benchmark.gate.pytest_plugin import assert_no_regression"
    )
    pytester.makepyfile(
        f"""
        def test_fine(assert_no_regression):
            assert_no_regression({str(stores / "then")!r}, {str(stores / "b.json")!r})

        def test_worse(assert_no_regression):
            assert_no_regression({str(stores / "worse")!r}, {str(stores / "b.json")!r})

        def test_tolerated(assert_no_regression):
            assert_no_regression(
                {str(stores / "worse")!r}, {str(stores / "b.json")!r}, tolerance=4, measures=["map"]
            )

        def test_unreadable(assert_no_regression):
            assert_no_regression({str(stores / "then")!r}, "absent.json")
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["*regression: 1 comparisons*", "*REGRESSION*", "*absent.json*not there*"]
    )
    assert "Traceback" not in result.stdout.str()


def test_the_plugin_is_announced_and_imports_nothing_heavy(pytestconfig):
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())
    (module,) = project["project"]["entry-points"]["pytest11"].values()
    code = (
        f"import sys, pytest, {module}\n"
        "heavy = {'torch', 'scipy', 'numpy', 'pydantic', 'sklearn', 'matplotlib', 'griffe'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
