"""Contract checks for plug-ins: what every component of a kind must do.

Run them on your own class, in a test:

    from labelattack.testing import attack_checks

    @pytest.mark.parametrize("check", attack_checks("my-attack"), ids=str)
    def test_contract(check):
        check()

or on a file, from a shell: ``python -m labelattack.testing my_attack.py``. The spec of a component
that has no defaults, such as a dataset that must be told where its files lie, comes after the file:
``... my_dataset.py my-dataset:root=photos``.
"""

from __future__ import annotations

from labelattack.testing.attacks import attack_checks
from labelattack.testing.check import EXPECTED_POSITIVES, Check, example_labels
from labelattack.testing.corruptions import corruption_checks
from labelattack.testing.datasets import dataset_checks
from labelattack.testing.defenses import defense_checks
from labelattack.testing.measures import measure_checks
from labelattack.testing.models import model_checks
from labelattack.testing.mutations import mutation_checks
from labelattack.testing.plugins import check_plugin

__all__ = [
    "EXPECTED_POSITIVES", "Check", "attack_checks", "check_plugin", "corruption_checks",
    "dataset_checks", "defense_checks", "example_labels", "measure_checks", "model_checks",
    "mutation_checks",
]  # fmt: skip
