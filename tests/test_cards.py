"""One reviewable file a row."""

import json
from pathlib import Path

import pytest

from labelattack.benchmark.boards.leaderboard import boards
from labelattack.benchmark.paper.result_cards import cards, papers_in, write_cards
from labelattack.benchmark.plan.config import experiment, paper_folder
from labelattack.benchmark.store.store import RecordStore
from labelattack.errors import ParameterError, StoreError
from tests.test_benchmark import diagnosis, fake
from tests.test_gate import removal


def records(seeds=3, **changes):
    found = []
    for seed in range(seeds):
        for defense, value in (("an", 0.7), ("wan", 0.8)):
            for lr, val in ((1e-3, 0.1), (1e-2, 0.9)):
                one = fake(value + lr + seed / 1e3, val, seed=seed, defense=defense, **changes)
                recipe = one.cell.recipe.model_copy(update={"lr": lr})
                cell = one.cell.model_copy(update={"recipe": recipe})
                cell = type(cell)(**cell.model_dump())
                update = {
                    "key": cell.key,
                    "cell": cell,
                    "removal": removal("x"),
                    "outcomes": {"d-score": diagnosis(0.2, 0.9)},
                    "machine": "m",
                    "commit": f"c{seed}",
                    "libraries": {"torch": "2"},
                }
                found.append(one.model_copy(update=update))
    return found


def paper(**values):
    table = {
        "dataset": "digits",
        "attacks": ["single-positive", "targeted:rate=0.4"],
        "values": {"an": [50.0, 60.5], "wan": [51.0, 61.0]},
    }
    return experiment({"title": "Table X", "reported": [table | values]})


def test_a_card_says_what_was_run_measured_and_reported():
    found = records()
    (board,) = boards(found)
    made = cards(found, [paper()])
    assert [card.pair.defense.partition(":")[0] for card in made] == ["wan", "an"]  # as the board
    wan, an = made
    assert (wan.measured.rank, an.measured.rank) == (board.rows[0].rank, board.rows[1].rank)
    assert an.measured.map == pytest.approx(71.1) == board.rows[1].map
    assert an.measured.maps == pytest.approx({0: 71.0, 1: 71.1, 2: 71.2})
    assert [recipe["lr"] for recipe in an.searched] == [1e-3, 1e-2]
    assert {seed: recipe["lr"] for seed, recipe in an.selected.items()} == dict.fromkeys(
        range(3), 1e-2
    )
    assert an.measured.d_score == pytest.approx(0.7)
    assert [(c.source, c.measure, c.attack, c.value) for c in an.reported] == [
        ("Table X", "map", "targeted:rate=0.4", 60.5)
    ]
    assert an.provenance.commits == ["c0", "c1", "c2"] and an.provenance.machines == ["m"]
    of_an = sorted(r.key for r in found if r.cell.defense.startswith("an"))
    assert an.provenance.records == of_an
    assert an.unreliable == [] and an.board.fingerprint == board.fingerprint


def test_unreliable_and_privileged_rows_say_so():
    few = cards([r.model_copy(update={"privileged": True}) for r in records(2)])
    assert all(card.unreliable == ["2 seeds, fewer than 3"] for card in few)
    assert all("told positives per image" in card.privileges for card in few)


def test_reported_numbers_are_of_the_same_data_attack_and_defense():
    found = records()
    assert cards(found)[0].reported == []
    assert cards(found, [paper(dataset="voc")])[0].reported == []
    other = paper(attacks=["single-positive", "targeted:rate=0.2"])
    assert cards(found, [other])[0].reported == []
    # The paper leaves open over what its rates are: either scope stands beside it.
    scoped = paper(attacks=["single-positive", "targeted:rate=0.4,scope=image"])
    (claim,) = cards(found, [scoped])[0].reported
    assert (claim.attack, claim.value) == ("targeted:rate=0.4,scope=image", 61.0)


def test_the_papers_tables_are_read():
    found = papers_in(sorted(paper_folder().glob("*.toml")))
    assert {paper.title for paper in found} >= {"Table I: mAP under targeted attacks"}
    assert all(paper.reported for paper in found)


def test_versions_of_one_pair_have_a_card_each():
    old = records()
    new = records(versions={**old[0].cell.versions, "defense": "2"})
    found = cards([*old, *new])
    assert len({card.file_name for card in found}) == len(found) == 4
    assert {card.pair.versions for card in found} == {
        "attack 1, defense 1",
        "attack 1, defense 2",
    }
    for card in found:
        version = card.pair.versions[-1]
        of = [r for r in [*old, *new] if r.key in card.provenance.records]
        assert {r.cell.versions["defense"] for r in of} == {version} and len(of) == 6


def test_equal_stores_give_equal_bytes_and_stale_cards_are_named(tmp_path):
    found = records()
    for name, given in (("one", found), ("two", found[::-1])):
        assert write_cards(tmp_path / name, cards(given)) == []
    files = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}
    assert len(files) == 2
    only_an = [r for r in found if r.cell.defense.startswith("an")]
    (stale,) = write_cards(tmp_path / "one", cards(only_an))
    assert "_wan_" in stale.name and stale.exists()


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "a\0b", "..", "CON", "x" * 5000, "\n|<b>", "é" * 300]
)
def test_names_cannot_leave_the_folder(tmp_path, name):
    found = [
        r.model_copy(update={"cell": r.cell.model_copy(update=dict.fromkeys(("attack", "defense", "dataset", "model"), name))})
        for r in records()[:4]
    ]  # fmt: skip
    write_cards(tmp_path / "in" / "cards", cards(found))
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    assert path.parent == tmp_path / "in" / "cards" and len(path.name) < 200
    assert json.loads(path.read_text())["pair"]["attack"] == name


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_cards(tmp_path / "f", cards(records()))
    with pytest.raises(ParameterError, match="not there"):
        papers_in([Path("absent.toml")])


def test_command(run, refused, tmp_path):
    store = RecordStore(tmp_path / "results")
    for record in records():
        store.add(record)
    first = run("cards", "results", "--out", "cards", cwd=tmp_path)
    assert "wrote 2 cards to 'cards'" in first.stderr
    before = {p.name: p.read_bytes() for p in (tmp_path / "cards").iterdir()}
    (tmp_path / "cards" / "old.json").write_text("{}")
    again = run("cards", "results", "--out", "cards", cwd=tmp_path)
    assert "no row of this store: 'cards/old.json'; remove it if it is stale" in again.stderr
    assert before == {
        p.name: (tmp_path / "cards" / p.name).read_bytes()
        for p in (tmp_path / "cards").iterdir()
        if p.name != "old.json"
    }
    assert "store.json" in refused("cards", "absent", "--out", "cards", cwd=tmp_path)
    missing = refused("cards", "results", "--out", "c", "--spec", "no.toml", cwd=tmp_path)
    assert "config must be a TOML file" in missing
