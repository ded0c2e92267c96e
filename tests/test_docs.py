"""What the README promises is what CI runs and what the examples say."""

import json
import re
import warnings

import pytest

from labelattack import attacks, defenses
from labelattack.benchmark.boards import ranking, reliability
from labelattack.benchmark.gate.check import Limits
from labelattack.benchmark.gate.formats import COLUMNS
from labelattack.cli import main
from labelattack.corruptions import STANDARD
from labelattack.measures._perturbed import KEPT, Perturbed, PerturbedSummary
from labelattack.measures.corruption import CorruptionSettings
from labelattack.measures.d_score import DScoreSettings
from labelattack.measures.evasion import EvasionSettings
from labelattack.measures.outcome import MAP
from labelattack.metrics.text import with_interval
from labelattack.models.tiny import Tiny


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


# --- what pages repeat of the code


@pytest.fixture
def page(pytestconfig):
    """A page's text on one line, without marks of emphasis."""

    def text(name):
        found = (pytestconfig.rootpath / "docs" / name).read_text(encoding="utf-8")
        return " ".join(re.sub(r"[*`]", "", found).split())

    return text


@pytest.mark.parametrize("name", ["numbers.md", "pixel-robustness.md"])
def test_the_share_in_brackets_is_explained_as_it_is_computed(page, name):
    assert KEPT in page(name)
    found = Perturbed(images=1, clean=0.8, map=0.5, chance=0.2)
    changed, clean, chance = found.map, found.clean, found.chance
    assert found.kept == (changed - chance) / (clean - chance)
    whole = found.model_copy(update={"map": clean})
    assert (whole.kept, whole.model_copy(update={"map": chance}).kept) == (1, 0)


def test_boards_explain_the_bracket_likewise(pytestconfig):
    path = pytestconfig.rootpath / "benchmarks/results/pixels/digits.json"
    (found,) = json.loads(path.read_text(encoding="utf-8"))
    summaries = [PerturbedSummary.model_validate(row["evasion"]) for row in found["rows"]]
    assert any(KEPT in remark for remark in EvasionSettings.remarks(summaries))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("reading-a-board.md", f"Holm-corrected over all pairs under one attack at {100 * ranking.LEVEL:g} %"),
        ("numbers.md", f"an assumed prior, {100 * Tiny().prior:g} % by default"),
        ("reading-a-board.md", f"every pair shares at least {ranking.MIN_SEEDS} seeds"),
        ("reading-a-board.md", f"noise stays at {100 * ranking.LEVEL:g} %"),
        ("reading-a-board.md", f"few seeds | fewer than {ranking.MIN_SEEDS} finished"),
        ("reading-a-board.md", f"more than {reliability.FAR_OFF:g} times the share of positive test labels"),
        ("leaderboards.md", f"corrected p below --alpha ({Limits().alpha:g})"),
        ("leaderboards.md", f"more than --tolerance ({Limits().tolerance:g} points)"),
        ("leaderboards.md", "--measure is " + " and ".join(Limits().measures) + " unless given"),
    ],
)  # fmt: skip
def test_thresholds_are_those_of_the_code(page, name, sentence):
    assert sentence in page(name)


def test_every_measure_of_the_gate_is_documented(page):
    text = page("leaderboards.md")
    said = text[text.index("--measure is") :].partition("a point is a hundredth")[0]
    measures = [DScoreSettings, EvasionSettings, CorruptionSettings]
    assert all(metric.name in said for cls in measures for metric in (MAP, *cls.metrics))


def test_every_corruption_is_documented(page):
    text = page("pixel-robustness.md").lower()
    assert all(name.rpartition("-")[2] in text for name in STANDARD)


def test_the_walk_through_of_an_edited_loss_can_be_run(
    pytestconfig, capsys, monkeypatch, tmp_path, forgotten
):
    """Its bench is planned, its edit is one of the example, its table has the columns of a check."""
    text = (pytestconfig.rootpath / "docs/leaderboards.md").read_text(encoding="utf-8")
    section = text.partition("### A loss is edited")[2]
    command = re.search(r"(labelattack bench .*?--out results)", section, re.S)[1].replace(
        "\\\n", " "
    )
    example = pytestconfig.rootpath / "examples" / "my_loss.py"
    given = command.replace("my_loss.py", str(example)).split()
    monkeypatch.setattr("sys.argv", [*given, "--dry-run"])
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0 and "4 of 4 cells" in capsys.readouterr().out
    assert "+ step.hidden" in example.read_text(encoding="utf-8")
    assert " ".join(COLUMNS) in " ".join(section.split())
