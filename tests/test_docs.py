"""What the README promises is what CI runs and what the examples say."""

import re

import pytest


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
