"""What the README promises is what CI runs and what the examples say."""

import json
import re

import pytest

from labelattack import attacks, defenses
from labelattack.benchmark.tables import with_interval


@pytest.fixture
def readme(pytestconfig):
    return (pytestconfig.rootpath / "README.md").read_text()


@pytest.mark.parametrize("example", ["my_attack.py", "my_loss.py"])
def test_readme_shows_the_examples(readme, example, pytestconfig):
    def code(text):
        body = re.sub(r'^""".*?"""\n', "", text, flags=re.S)
        return [line for line in body.splitlines() if line.strip()]

    shown = [code(block) for block in re.findall(r"```python\n(.*?)```", readme, re.S)]
    assert code((pytestconfig.rootpath / "examples" / example).read_text()) in shown


def test_exactly_two_set_up_commands_and_ci_runs_the_second(readme, pytestconfig):
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[1] in (pytestconfig.rootpath / ".ci" / "run").read_text().splitlines()


def board_cells(folder, name):
    """``mean ± half-width`` by dataset's attack and defense, as short as the page writes them."""
    (board,) = json.loads((folder / f"{name}.json").read_text())
    return {
        (attacks.registry.short(row["attack"]), defenses.registry.short(row["defense"])): (
            with_interval(row["map"], row["interval"])
        )
        for row in board["rows"]
    }


def table_rows(page, heading):
    """Cells of the first table below a heading, without its head."""
    section = page.split(f"{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", section, re.M).group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("heading", "boards", "attacked"),
    [
        ("## Ablation of the paper's loss", ["ablation"] * 2, ["targeted:rate=0.4", "random:rate=0.4"]),
        ("### The head's initial bias", ["table1", "ablation-bias"], ["targeted:rate=0.4"] * 2),
        ("## End to end", ["finetune"], ["targeted:rate=0.4"]),
    ],
)  # fmt: skip
def test_tables_of_the_reproduction_are_those_of_the_boards(
    pytestconfig, heading, boards, attacked
):
    root = pytestconfig.rootpath
    page = (root / "docs" / "reproduction.md").read_text()
    found = [board_cells(root / "benchmarks" / "results" / "paper", name) for name in boards]
    rows = table_rows(page, heading)
    assert len(rows) >= 5
    for first, *shown in rows:
        defense = "pseudo-history"
        if (name := re.search(r"`(.*)`", first)) is not None:
            choice = name.group(1).replace(", ", ",")
            defense = f"pseudo-history:{choice}" if "=" in choice else choice
        for attack, board, cell in zip(attacked, found, shown, strict=True):
            assert cell == board["none" if defense == "bce" else attack, defense], first


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("### Digits, end to end", "digits"),
        ("### VOC 2007, a head on a frozen backbone", "voc2007"),
    ],
)
def test_tables_of_changed_pixels_are_those_of_the_boards(pytestconfig, heading, name):
    root = pytestconfig.rootpath
    (board,) = json.loads((root / f"benchmarks/results/pixels/{name}.json").read_text())
    by_pair = {
        (attacks.registry.short(row["attack"]), defenses.registry.short(row["defense"])): row
        for row in board["rows"]
    }
    shown = table_rows((root / "docs/pixel-robustness.md").read_text(), heading)
    assert {(a.strip("`"), d.strip("`")) for a, d, *_ in shown} == set(by_pair)

    def share(value, half, signed=False):
        return with_interval(100 * value, 100 * half, signed=signed, digits=0)

    for attack, defense, *cells in shown:
        row = by_pair[attack.strip("`"), defense.strip("`")]
        expected = [with_interval(row["map"], row["interval"])]
        for found in (row["evasion"], row["corruption"]):
            expected += [
                with_interval(found["map"], found["interval"]),
                share(found["kept"], found["kept_interval"]) + " %",
                ""
                if row["attack"] == "none"
                else share(found["kept_to_reference"], found["kept_to_reference_interval"], True),
            ]
        assert cells == expected, (attack, defense)
