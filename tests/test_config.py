"""The config command, and boards that mix."""

import json
import tomllib

import pytest

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.plan.config import experiment, read_experiment, resolved, to_toml
from labelattack.benchmark.report.tables import to_csv, to_markdown
from labelattack.errors import UnknownNameError
from tests.test_benchmark import fake


def test_a_resolved_experiment_reads_back_as_itself_and_makes_the_same_cells(tmp_path):
    given = experiment(
        {"attacks": ["targeted", "random:rate=0.2"], "defenses": ["an", "wan"], "epochs": 2}
    )
    whole = resolved(given)
    (tmp_path / "grid.toml").write_text(to_toml(whole))
    again = experiment(read_experiment(tmp_path / "grid.toml"))
    assert again == whole == resolved(again)
    before, after = ([g.cells("x") for g in e.grids()] for e in (given, again))
    assert before == after


def test_config_prints_what_bench_would_run(run, tmp_path):
    (tmp_path / "grid.toml").write_text('attacks = ["random"]\nseeds = 7\n[scale.s]\nepochs = 2\n')
    shown = run("config", "--config", "grid.toml", "--scale", "s", "--seeds", 2, cwd=tmp_path)
    found = tomllib.loads(shown.stdout)
    assert (found["seeds"], found["epochs"], found["protocol"]) == (2, 2, "finetune")
    assert found["attacks"] == ["random:rate=0.4,scope=dataset"]
    (tmp_path / "again.toml").write_text(shown.stdout)
    as_json = run("config", "--config", "again.toml", "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["lrs"] == found["lrs"]


@pytest.fixture
def records():
    """``an`` under both protocols with the same labels, each with its reference."""
    found = []
    for protocol, points in (("linear", 0.6), ("finetune", 0.8)):
        for seed in range(4):
            noise = seed / 1000
            found.append(fake(points + noise, 0.5, seed=seed, protocol=protocol))
            found.append(
                fake(points + 0.1, 0.5, seed=seed, attack="none", defense="bce", protocol=protocol)
            )
    return found


def test_boards_mix_what_they_are_told_to_and_say_so(records):
    assert len(boards(records)) == 2
    (board,) = boards(records, mix=["protocol"])
    assert board.mixed == ["protocol"] and board.protocol == "linear | finetune"
    an = [row for row in board.rows if row.defense.startswith("an")]
    assert [row.variant for row in an] == ["finetune, 2 epochs", "linear, 2 epochs"]
    assert [round(row.to_reference) for row in an] == [-10, -10]  # each against its own reference
    assert [row.rank for row in an] == [(1, 1), (2, 2)]
    (comparison,) = [c for c in board.comparisons if c.attack.startswith("targeted")]
    assert comparison.first == "an (finetune, 2 epochs)" and comparison.distinct
    assert "linear \\| finetune" in to_markdown([board]) or "linear | finetune" in to_markdown(
        [board]
    )
    assert to_csv([board]).count("\n") == 1 + len(board.rows)
    with pytest.raises(UnknownNameError, match="unknown mixture 'protcol'; did you mean"):
        boards(records, mix=["protcol"])


def test_few_seeds_are_said_instead_of_ranked(records):
    few = [r for r in records if r.cell.seed < 2]
    (board,) = boards(few, mix=["protocol"])
    assert all(row.rank is None for row in board.rows)
    assert set(board.unranked.values()) == {"2 seeds, ranks need 3"}
    assert all("2 seeds, fewer than 3" in row.unreliable for row in board.rows)
    assert "not ranked: 2 seeds, ranks need 3" in to_markdown([board])


def test_other_versions_of_a_component_are_told_apart(records):
    one = [r for r in records if r.cell.protocol == "linear"]
    newer = [
        fake(
            0.9,
            0.5,
            seed=r.cell.seed,
            protocol="linear",
            versions={**r.cell.versions, "defense": "2"},
        )
        for r in one
        if r.cell.defense.startswith("an")
    ]
    (board,) = boards([*one, *newer])
    variants = {row.variant for row in board.rows if row.defense.startswith("an")}
    assert variants == {"versions: attack 1, defense 1", "versions: attack 1, defense 2"}
