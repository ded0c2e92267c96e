"""Equal budgets, sets of attacks, and how a bench takes them."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelattack import attacks
from labelattack.attacks.budget import Budget, at_budget
from labelattack.attacks.sets import SETS, expanded
from labelattack.benchmark.plan.grid import Grid
from labelattack.errors import AttackError, ParameterError, UnknownNameError
from labelattack.labels import PartialLabels
from labelattack.testing.attacks import example_knowledge

matrices = arrays(np.bool_, st.tuples(st.integers(4, 20), st.integers(2, 8)))
ON_POSITIVES = (
    "targeted", "targeted:keep_negatives=true", "random", "class-conditional",
    "class-conditional:setting=wipe-out", "co-occurrence", "confidence", "greedy",
    "size-biased", "machine-suggested",
)  # fmt: skip
GRID = {
    "dataset": "digits:train=60,val=30,test=40",
    "model": "tiny",
    "protocol": "linear",
    "defenses": ("an", "wan"),
}


def known(labels):
    return PartialLabels.full(labels)


@pytest.mark.parametrize("spec", ON_POSITIVES)
@given(labels=matrices, share=st.sampled_from([0, 0.2, 0.5, 0.9, 1]))
def test_attacks_remove_exactly_a_budget_of_positives(spec, labels, share):
    before = known(labels)
    budget, knowledge = Budget("positives", share), example_knowledge(*labels.shape)
    _, left = at_budget(attacks.create(spec), budget, before, seed=1, knowledge=knowledge)
    assert before.known_positives - left.known_positives == round(share * labels.sum())


@given(labels=matrices, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@example(labels=np.eye(4, 2, dtype=bool) & (np.arange(2) == 0), shares=(0.5, 0.125))
def test_budgets_are_nested(labels, shares):
    before = known(labels)
    smaller, larger = (
        at_budget(attacks.create("random"), Budget("positives", s), before, seed=2).labels
        for s in sorted(shares)
    )
    assert not (smaller.hidden & ~larger.hidden).any()


@given(labels=matrices, share=st.floats(0, 1))
def test_random_removes_exactly_a_budget_of_entries(labels, share):
    before = known(labels)
    attack, left = at_budget(attacks.create("random"), Budget("entries", share), before, seed=0)
    assert before.known - left.known == round(share * labels.size)
    assert attack.rate == share  # its own rate counts the same: there is nothing to search


def test_an_attack_without_a_fitting_strength_is_refused():
    labels = known(np.ones((20, 5), bool))
    with pytest.raises(
        AttackError, match="'single-positive' must remove 20 of 100 positives.*got 80 as the near"
    ):
        at_budget(attacks.create("single-positive"), Budget("positives", 0.2), labels, seed=0)
    exactly = at_budget(attacks.create("single-positive"), Budget("positives", 0.8), labels, seed=0)
    assert exactly.labels.known_positives == 20
    with pytest.raises(AttackError, match="negatives-only.*got 0 as the nearest"):
        at_budget(attacks.create("negatives-only"), Budget("positives", 0.5), labels, seed=0)
    with pytest.raises(AttackError, match="counts removed labels.*'flip'"):
        at_budget(attacks.create("flip"), Budget("positives", 0.5), labels, seed=0)


def test_fixed_per_class_reaches_a_budget_by_its_count():
    labels = known(np.random.Generator(np.random.PCG64(1)).random((300, 6)) < 0.3)
    attack, left = at_budget(
        attacks.create("fixed-per-class"), Budget("positives", 0.4), labels, seed=0
    )
    wanted = 0.6 * labels.known_positives
    assert abs(left.known_positives - wanted) <= 6  # a count more keeps up to one of each class
    assert 0 < attack.count < 300


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("positives", "SHARE"), ("positives=2", "from 0 to 1"), ("positives=x", "got 'positives=x'"),
        ("positive=0.4", "did you mean 'positives'"), ("entries=nan", "from 0 to 1"),
    ],
)  # fmt: skip
def test_malformed_budgets_are_refused(text, error):
    with pytest.raises((ParameterError, UnknownNameError), match=error):
        Budget.parse(text)
    with pytest.raises((ParameterError, UnknownNameError), match=error):
        Grid(**GRID, attacks=("targeted",), budget=text).cells("")


def test_sets_stand_for_their_members():
    names, brought = expanded(["random", "worst-of:set=labels-only,rate=0.6", "targeted"])
    assert names[0] == "random" and "co-occurrence:rate=0.6" in names and names[-1] == "targeted"
    assert brought == set(names[1:-1])
    for members in SETS.values():
        for member in members:
            spec = attacks.registry.resolve(member)
            params = dict(spec.params)
            assert params["rate"] == 0.4 and params["keep_negatives"] is False, member
            assert attacks.registry.get(spec.name).rate_of == "positives"
    for wrong in ("worst-of:set=x", "worst-of:rat=1"):
        with pytest.raises(UnknownNameError):
            expanded([wrong])
    with pytest.raises(ParameterError, match="from 0 to 1, got '2'"):
        expanded(["worst-of:rate=2"])


def test_cells_of_a_budget_have_keys_of_their_own():
    plain = Grid(**GRID, attacks=("targeted",)).cells("x")
    at = Grid(**GRID, attacks=("targeted:rate=0.7",), budget="positives=0.4").cells("x")
    assert {cell.key for cell in at} & {cell.key for cell in plain} == {
        cell.key for cell in plain if cell.attack == "none"
    }
    attacked = [cell for cell in at if cell.attack != "none"]
    assert {cell.budget for cell in attacked} == {"positives=0.4"}
    assert all("rate=0.4" in cell.attack for cell in attacked)  # the rate that was given is moot
    assert all(cell.budget is None for cell in at if cell.attack == "none")
    with pytest.raises(AttackError, match="'hidden-as-negative', which changes labels"):
        Grid(**GRID, attacks=("hidden-as-negative",), budget="positives=0.4").cells("x")


def test_attacks_that_use_a_surrogate_carry_its_version():
    cells = Grid(**GRID, attacks=("confidence", "targeted")).cells("x")
    versions = {cell.attack.partition(":")[0]: cell.versions["attack"] for cell in cells}
    assert versions["confidence"].endswith("+surrogate-1")
    assert "surrogate" not in versions["targeted"]


def test_bench_leaves_out_what_cannot_meet_a_budget_and_says_so(told, tmp_path):
    arguments = [
        "bench", "--dataset", GRID["dataset"], "--protocol", "linear", "--defense", "an",
        "--seeds", "1", "--epochs", "1", "--lr", "1e-3", "--jobs", "1", "--d-score", "none",
        "--budget", "positives=0.3", "--out", str(tmp_path / "s"),
    ]  # fmt: skip
    code, out, err = told(*arguments, "--attack", "random", "--attack", "negatives-only", "--json")
    assert code == 0, err
    assert "left out: attack 'negatives-only' must remove" in err
    (board,) = json.loads(out)
    assert board["budget"] == "positives=0.3"
    lost = {row["attack"].partition(":")[0]: row["positives_removed"] for row in board["rows"]}
    assert lost["random"] == pytest.approx(0.3, abs=0.01) and "negatives-only" not in lost
    code, _, err = told(*arguments, "--attack", "negatives-only")
    assert code == 2 and err.count("error:") == 1 and "must remove" in err
    code, _, err = told(*arguments, "--attack", "flip")
    assert code == 2 and "which changes labels" in err


@pytest.fixture
def labels_file(tmp_path):
    labels = np.random.Generator(np.random.PCG64(0)).random((50, 8)) < 0.4
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path / "labels.npy"


def test_attack_command_takes_a_budget(told, tmp_path, labels_file):
    labels, out = labels_file, tmp_path / "out.npz"
    code, text, err = told(
        "attack", str(labels), "--attack", "random", "--budget", "positives=0.5", "--out",
        str(out), "--json",
    )  # fmt: skip
    assert code == 0, err
    account = json.loads(text)
    assert account["removed_positives"] == round(0.5 * account["positives"])
    # The manifest names the attack as it was set: by itself it does the same.
    again = tmp_path / "again.npz"
    code, _, err = told("attack", str(labels), "--attack", account["attack"], "--out", str(again))
    assert code == 0, err
    assert np.array_equal(np.load(out)["labels"], np.load(again)["labels"])
    code, _, err = told(
        "attack", str(labels), "--attack", "random", "--budget", "half", "--out", str(out)
    )
    assert code == 2 and "positives=SHARE" in err


def test_attack_command_tells_changes_from_removals_and_refuses_a_set(told, tmp_path, labels_file):
    out = str(tmp_path / "out.npz")
    code, text, err = told("attack", str(labels_file), "--attack", "flip", "--out", out)
    assert code == 0 and "positives changed" in text and "removed" not in text, err
    code, _, err = told("attack", str(labels_file), "--attack", "worst-of", "--out", out)
    assert code == 2 and "is a set of attacks; give one of them: 'targeted'" in err
