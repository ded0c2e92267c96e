"""Worst case over attacks at one budget, against a calculation by hand."""

import numpy as np
import pytest

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.report.tables import to_csv, to_markdown
from labelattack.benchmark.store.record import Removal
from tests.test_benchmark import fake

ATTACKS = ("targeted", "co-occurrence", "class-conditional")
VALUES = {  # test mAP by defense, attack and seed
    "an": {"targeted": (0.5, 0.6, 0.7), "co-occurrence": (0.6, 0.5, 0.9),
           "class-conditional": (0.8, 0.8, 0.65)},
    "wan": {"targeted": (0.7, 0.71, 0.72), "co-occurrence": (0.9, 0.9, 0.9),
            "class-conditional": (0.9, 0.9, 0.9)},
}  # fmt: skip


def removed(rate, **changes):
    values = {
        "requested_rate": rate, "realised_rate": rate, "rate_of": "positives",
        "positives_removed": rate, "q_hat": 0.9, "attacked_labels": "x",
    }  # fmt: skip
    return Removal(**(values | changes))


def run(value, seed, attack, defense, removal=None, **changes):
    one = fake(value, 0.5, seed=seed, attack=attack, defense=defense, **changes)
    removal = removed(0.4, attacked_labels=f"{attack} {seed}") if removal is None else removal
    return one.model_copy(update={"removal": removal})


def all_runs(**changes):
    found = [
        run(value, seed, attack, defense, **changes)
        for defense, of in VALUES.items()
        for attack, values in of.items()
        for seed, value in enumerate(values)
    ]
    return [*found, *(fake(0.95, 0.5, seed=s, attack="none", defense="bce") for s in range(3))]


def worst(board):
    return {row.defense.partition(":")[0]: row for row in board.rows if row.worst_of}


def test_the_minimum_is_taken_within_each_seed():
    (board,) = boards(all_runs())
    found = worst(board)
    assert list(found["an"].maps.values()) == [50, 50, 65]
    assert list(found["wan"].maps.values()) == pytest.approx([70, 71, 72])
    assert [spec.partition(":")[0] for spec in found["an"].worst_of.values()] == [
        "targeted", "co-occurrence", "class-conditional",
    ]  # fmt: skip
    assert found["an"].map == pytest.approx(55)
    assert found["an"].interval == pytest.approx(
        4.3027 * np.std([50, 50, 65], ddof=1) / 3**0.5, rel=1e-4
    )
    assert found["an"].to_reference == pytest.approx(-40)
    assert [row.defense.partition(":")[0] for row in board.rows[:2]] == ["wan", "an"]  # first
    assert board.rows[0].attack == "worst of 3 attacks, positives=0.4"
    assert found["an"].rank is not None and found["wan"].rank is not None


def test_ranks_are_those_of_the_worst_case():
    records = all_runs()
    spread = {"an": (0.5, 0.51, 0.5), "wan": (0.8, 0.81, 0.8)}
    records = [
        run(value, seed, attack, defense)
        for defense, values in spread.items()
        for attack in ATTACKS
        for seed, value in enumerate(values)
    ]
    (board,) = boards(records)
    assert worst(board)["wan"].rank == (1, 1) and worst(board)["an"].rank == (2, 2)


def test_it_needs_three_attacks_at_one_budget():
    two = [r for r in all_runs() if not r.cell.attack.startswith("class")]
    assert not worst(boards(two)[0])
    other = [
        r if not r.cell.attack.startswith("class") else r.model_copy(
            update={"removal": removed(0.6)})
        for r in all_runs()
    ]  # fmt: skip
    assert not worst(boards(other)[0])
    missed = [
        r.model_copy(update={"removal": removed(0.4, positives_removed=0.3)})
        if r.cell.attack.startswith("class") else r
        for r in all_runs()
    ]  # fmt: skip
    assert not worst(boards(missed)[0])  # a rate that was not met is another budget
    of_labels = [
        r.model_copy(update={"removal": removed(0.4, rate_of="labels")})
        if r.cell.attack.startswith("class") else r
        for r in all_runs()
    ]  # fmt: skip
    assert not worst(boards(of_labels)[0])


def test_a_defense_that_lacks_an_attack_has_no_worst_case():
    records = [
        r for r in all_runs()
        if not (r.cell.defense.startswith("wan") and r.cell.attack.startswith("co-"))
    ]  # fmt: skip
    found = worst(boards(records)[0])
    assert list(found) == ["an"]
    gone = [r for r in all_runs() if not (r.cell.seed == 1 and r.cell.attack.startswith("co-"))]
    assert list(worst(boards(gone)[0])["an"].maps) == [0, 2]  # seeds that have every attack


def test_budgets_have_boards_of_their_own_with_the_reference():
    at = [r for r in all_runs(budget="positives=0.4") if r.cell.attack != "none"]
    plain = [r for r in all_runs() if r.cell.attack == "none" or r.cell.seed == 0]
    found = boards([*at, *plain])
    assert sorted(board.budget for board in found) == ["", "positives=0.4"]
    (budgeted,) = (board for board in found if board.budget)
    assert any(row.attack == "none" for row in budgeted.rows) and len(worst(budgeted)) == 2
    (alone,) = boards([*at, *(r for r in plain if r.cell.attack == "none")])
    assert alone.budget == "positives=0.4"  # the reference needs no board of its own
    (mixed,) = boards([*at, *plain], mix=["budget"])
    assert "budget" in mixed.mixed
    assert "budget" in to_csv([budgeted]).splitlines()[0].split(",")
    assert "budget positives=0.4" in to_markdown([budgeted])


def test_changed_labels_are_never_beside_removed_ones():
    changed = [run(0.5, seed, "hidden-as-negative", "an", labels="changed") for seed in range(3)]
    found = boards([*all_runs(), *changed])
    assert [board.labels for board in found] == ["removed", "changed"]
    assert {row.attack.partition(":")[0] for row in found[1].rows} == {"hidden-as-negative", "none"}
    assert "changed labels" in to_markdown(found[1:])
    (mixed,) = boards([*all_runs(), *changed], mix=["labels"])
    assert "hidden-as-negative" in {row.attack.partition(":")[0] for row in mixed.rows}


def test_files_say_which_attack_did_most_harm():
    (board,) = boards(all_runs())
    header, first, *_ = to_csv([board]).splitlines()
    assert "worst_of" in header and "worst of 3 attacks" in first
    markdown = to_markdown([board])
    assert "| worst under |" in markdown and "targeted (1)" in markdown
    (plain,) = boards([r for r in all_runs() if r.cell.attack == "none"])
    assert "worst_of" not in to_csv([plain]) and "worst under" not in to_markdown([plain])
