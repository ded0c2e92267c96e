"""Parameters of losses are searched with as many trials for each defense."""

import json
from collections import Counter

import pytest

from labelattack import bench
from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.boards.text import selection_text
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.execution.run_cell import run_cells
from labelattack.benchmark.paper.result_cards import cards
from labelattack.benchmark.plan.config import experiment, read_experiment, resolved, to_toml
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.plan.search import Search
from labelattack.benchmark.report import tables
from labelattack.errors import ParameterError
from tests.conftest import SMALL_DIGITS

DELTAS = (0.002, 0.01, 0.05)


def grid(**changes):
    values = {
        "dataset": SMALL_DIGITS, "model": "tiny", "protocol": "linear", "attacks": ("targeted",),
        "defenses": ("an", "large-loss"), "seeds": (0, 1), "epochs": 2, "lrs": (1e-2, 1e-3),
        "batch_sizes": (8, 16), "search": {"large-loss.delta": DELTAS},
    }  # fmt: skip
    return Grid(**{**values, **changes})


def trials(**changes):
    """Recipes of each defense under its attack, of the first seed."""
    found = {}
    for cell in grid(**changes).cells("x"):
        if cell.seed == 0:
            found.setdefault(cell.defense.partition(":")[0], []).append(cell.recipe)
    return found


def test_every_defense_gets_as_many_trials():
    """Recipes that all share are taken once each, with values that are as frequent as they can be."""
    found = trials()
    assert {len(recipes) for recipes in found.values()} == {4}
    own = [recipe.searched() for recipe in found["large-loss"]]
    assert len({(r["lr"], r["batch_size"]) for r in own}) == 4
    assert sorted(Counter(r["delta"] for r in own).values()) == [1, 1, 2]
    assert all("delta" not in recipe.searched() for recipe in found["an"])


@pytest.mark.parametrize("count", range(1, 13))
def test_trials_of_one_defense_are_distinct_and_spread(count):
    recipes = trials(defenses=("large-loss",), reference=False, trials=count)["large-loss"]
    assert len(recipes) == len(set(recipes)) == count
    rates = Counter(recipe.lr for recipe in recipes)
    assert max(rates.values()) - min(rates.values()) <= 1 or count == 1
    shared = Counter((recipe.lr, recipe.batch_size) for recipe in recipes)
    assert max(shared.values()) == -(-count // 4)


def test_all_trials_of_one_defense_are_the_whole_table():
    recipes = trials(defenses=("large-loss",), reference=False)["large-loss"]
    whole = {(lr, size, d) for lr in (1e-2, 1e-3) for size in (8, 16) for d in DELTAS}
    assert {(r.lr, r.batch_size, dict(r.loss)["delta"]) for r in recipes} == whole


def test_seeds_and_attacks_try_the_same():
    found = {}
    for cell in grid(attacks=("targeted", "random"), defenses=("large-loss",)).cells("x"):
        found.setdefault((cell.attack, cell.seed), []).append(cell.recipe)
    del found["none", 0], found["none", 1]
    assert len(set(map(tuple, found.values()))) == 1


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"large-los.delta": [1]}, "unknown defense 'large-los'.*'large-loss'"),
        ({"large-loss.delt": [1]}, "unknown parameter of defense 'large-loss': 'delt'"),
        ({"large-loss.delta": [0.1, 2]}, "'delta' of defense 'large-loss' must be .* 1, got 2"),
        ({"large-loss.delta": []}, "'large-loss.delta' must be a list of values, got"),
        ({"delta": [1]}, "must name DEFENSE.PARAMETER or one of lr, batch_size, weight_decay"),
        ({"lr": [1e-3]}, "search.lr and lrs must not both be given"),
        (["large-loss.delta"], "must look like defense.parameter=value,value, got"),
        (["em.alpha=1", "em.alpha=2"], "'em.alpha' twice"),
    ],
)
def test_what_cannot_be_searched_is_refused(search, message):
    with pytest.raises(ParameterError, match=message):
        experiment({"search": search, "lrs": [1e-3]})


def test_more_trials_than_settings_are_refused_with_the_defense():
    with pytest.raises(
        ParameterError, match="trials must be at most 4, .* defense '(an|bce)', got 5"
    ):
        grid(trials=5).cells("x")


def test_a_value_that_a_defense_gives_is_not_searched_as_well():
    """Its row would be named after a value that was not trained."""
    with pytest.raises(
        ParameterError, match="'large-loss.delta' must not .* got 'large-loss:delta=0.1'"
    ):
        grid(defenses=("large-loss:delta=0.1",)).cells("x")
    for spec in ("large-loss:mode=correct", "large-loss:delta=none", "em:alpha=0.5"):
        assert grid(defenses=(spec,)).cells("x")


def test_a_config_says_it_in_either_form_and_prints_one_that_runs_the_same(tmp_path):
    flat = '[search]\n"em.alpha" = [0.1, 0.2]\nlr = [0.01, 0.001]\n'
    nested = "[search]\nem.alpha = [0.1, 0.2]\nlr = [0.01, 0.001]\n"
    found = []
    for text in (flat, nested):
        (tmp_path / "a.toml").write_text(f'defenses = ["em", "an"]\n{text}')
        found.append(experiment(read_experiment(tmp_path / "a.toml")))
    told = {"lrs": [0.01, 0.001], "search": ["em.alpha=0.1,0.2"], "defenses": ["em", "an"]}
    assert found[0] == found[1] == experiment(told)
    (tmp_path / "b.toml").write_text(to_toml(resolved(found[0])))
    again = experiment(read_experiment(tmp_path / "b.toml"))
    keys = [[c.key for c in wanted.grids()[0].cells("x")] for wanted in (found[0], again)]
    assert keys[0] == keys[1]


def test_words_and_whole_numbers_are_read_as_the_parameter_has_them():
    search = Search(search=["large-loss.mode=reject,correct", "em-apl.warmup=2,3"])
    assert search.search == {
        "large-loss.mode": ("reject", "correct"), "em-apl.warmup": (2, 3),
    }  # fmt: skip
    assert all(isinstance(value, int) for value in search.search["em-apl.warmup"])


def test_what_was_chosen_is_on_boards_cards_and_in_records(tmp_path, told):
    results = bench(
        datasets=[SMALL_DIGITS], protocol="linear", defenses=["large-loss", "an"], seeds=3,
        epochs=2, lrs=[1e-2, 1e-3], d_score="none", search={"large-loss.delta": [0.01, 0.3]},
        out=tmp_path / "a", progress=False, jobs=1,
    )  # fmt: skip
    (board,) = boards(results.records)
    row = next(row for row in board.rows if row.defense.startswith("large-loss"))
    assert {row.recipes for row in board.rows} == {2}
    assert set(row.hyper_parameters["delta"]) <= {0.01, 0.3} and row.seeds == 3
    text = tables.to_markdown([board])
    assert "delta=0." in text and "2 trials of each defense" in text
    card = next(c for c in cards(results.records) if c.pair.defense == row.defense)
    assert {recipe["delta"] for recipe in card.searched} == {0.01, 0.3}
    assert [recipe["delta"] for recipe in card.selected.values()] == row.hyper_parameters["delta"]
    code, out, _ = told("show", str(tmp_path / "a"), "--format", "csv")
    assert code == 0 and "delta=" in out
    for record in results.records:
        trained = dict(record.cell.loss.params)
        assert dict(record.cell.recipe.loss).items() <= trained.items()


def test_the_chosen_value_is_what_is_trained(tmp_path):
    """A search of one value trains as the spec that names it."""
    common = {
        "datasets": [SMALL_DIGITS], "protocol": "linear", "seeds": 1, "epochs": 3, "lrs": [1e-2],
        "d_score": "none", "reference": False, "progress": False, "jobs": 1,
    }  # fmt: skip
    spec = bench(defenses=["large-loss:delta=0.3"], out=tmp_path / "a", **common).records
    search = {"large-loss.delta": [0.3]}
    searched = bench(defenses=["large-loss"], search=search, out=tmp_path / "b", **common).records
    plain = bench(defenses=["large-loss"], out=tmp_path / "c", **common).records
    assert searched[0].epochs == spec[0].epochs != plain[0].epochs
    assert searched[0].test == spec[0].test


def test_a_search_on_the_command_line(told):
    given = (
        "bench", "--dataset", SMALL_DIGITS, "--protocol", "linear", "--defense", "em", "--seeds",
        "1", "--epochs", "1", "--d-score", "none", "--no-reference", "--search",
        "em.alpha=0.1,0.2", "--search", "lr=0.1", "--dry-run", "--json",
    )  # fmt: skip
    code, out, err = told(*given, "--lr", "0.01")
    assert code == 2 and "error: search.lr and lrs must not both be given" in err
    code, out, err = told(*given)
    assert code == 0, err
    assert sorted(row["lr"] for row in json.loads(out)) == ["0.1 alpha=0.1", "0.1 alpha=0.2"]


def runs(tmp_path, name, **changes):
    return bench(
        **{
            "datasets": [SMALL_DIGITS], "protocol": "linear", "defenses": ["asl", "an"], "seeds": 1,
            "epochs": 3, "lrs": [1e-2], "d_score": "none", "reference": False, "progress": False,
            "jobs": 1, "out": tmp_path / name, **changes,
        }
    ).records  # fmt: skip


def test_a_reduction_is_another_row_and_only_of_losses_that_sum(tmp_path):
    native = {r.cell.loss.name: r for r in runs(tmp_path, "a")}
    mean = {r.cell.loss.name: r for r in runs(tmp_path, "b", reduction="mean")}
    assert native["an"].key == mean["an"].key
    assert native["asl"].key != mean["asl"].key
    first = native["asl"].epochs[0].loss / mean["asl"].epochs[0].loss
    assert first == pytest.approx((48 * 16 + 12 * 12) / 60 * 10, rel=0.01)  # entries
    (board,) = boards([*native.values(), mean["asl"]])
    assert len(board.rows) == 3
    rates = [row.hyper_parameters for row in board.rows if row.defense.startswith("asl")]
    assert sorted(map(str, rates)) == ["{'reduction': ['mean']}", "{}"]
    assert "reduction=mean" in tables.to_markdown([board])
    assert {len(c.searched) for c in cards([*native.values(), mean["asl"]])} == {1}


def test_losses_of_two_reductions_train_in_one_group(tmp_path):
    wanted = [
        cell
        for reduction in ("native", "mean")
        for cell in grid(defenses=("asl",), seeds=(0,), lrs=(1e-2,), batch_sizes=(8,), search={},
                         reduction=reduction, reference=False).cells("x")
    ]  # fmt: skip
    fingerprint = load(wanted[0].dataset).fingerprint
    wanted = [cell.model_copy(update={"fingerprint": fingerprint}) for cell in wanted]
    together = list(run_cells(wanted))
    for cell, record in zip(wanted, together, strict=True):
        (alone,) = run_cells([cell])
        assert record.epochs[-1].loss == pytest.approx(alone.epochs[-1].loss, rel=1e-4)


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_the_last_epoch_is_taken_where_nothing_is_selected(protocol, tmp_path):
    common = {
        "protocol": protocol,
        "defenses": ["pr"],
        "epochs": 4,
        "lrs": [0.3],
        "batch_sizes": [16],
    }
    (chosen,) = runs(tmp_path, "a", **common)
    (last,) = runs(tmp_path, "b", selection="last", **common)
    assert last.selected_epoch == 4 and last.epochs == chosen.epochs
    assert last.val_map == last.epochs[-1].val_map
    best = max(range(4), key=lambda n: chosen.epochs[n].val_map)
    assert chosen.selected_epoch == best + 1
    assert last.selection_rule == "last epoch, nothing selected"
    found = boards([chosen, last])
    assert [board.selection for board in found] == ["attacked", "last"]
    (mixed,) = boards([chosen, last], mix=["selection"])
    assert {row.variant for row in mixed.rows} == {"attacked", "last"}


def test_the_last_epoch_leaves_no_recipes_to_choose_from(tmp_path):
    with pytest.raises(ParameterError, match="selects nothing, so there must be one recipe, got 2"):
        runs(tmp_path, "a", selection="last", lrs=[1e-2, 1e-3])
    assert runs(tmp_path, "b", selection="last", lrs=[1e-2, 1e-3], trials=1)


def test_nothing_is_searched_by_the_name_of_a_training_parameter():
    with pytest.raises(ParameterError, match="has the name of a hyper-parameter of training"):
        experiment({"search": {"em.lr": [1]}})


def test_titles_say_how_epochs_were_chosen():
    texts = {"attacked": "attacked validation labels", "last": "last epoch",
             "clean | last": "clean validation labels | last epoch"}  # fmt: skip
    assert {selection: selection_text(selection) for selection in texts} == texts
