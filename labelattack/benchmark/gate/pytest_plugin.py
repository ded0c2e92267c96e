"""A pytest fixture that fails a test where a store is worse than its baseline.

Installed with the package; nothing heavy is imported before a test uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def assert_no_regression() -> Callable[..., None]:
    """Compares a store with a baseline, as ``labelattack check`` does.

    Call it as ``assert_no_regression(results, baseline, alpha=0.05, tolerance=0.5,
    measures=["map"])``; keywords as of [Limits][labelattack.benchmark.gate.check.Limits]. The
    test fails with what moved if anything is worse beyond noise and tolerance, or cannot be
    compared.
    """

    def check(results: str | PathLike[str], baseline: str | PathLike[str], **limits: Any) -> None:
        from labelattack.benchmark.gate.check import Limits, check_store
        from labelattack.benchmark.gate.formats import to_text
        from labelattack.errors import LabelAttackError

        try:
            found = check_store(Path(results), Path(baseline), Limits(**limits))
        except LabelAttackError as error:
            pytest.fail(str(error), pytrace=False)
        if found.exit_code:
            pytest.fail(to_text(found), pytrace=False)

    return check
