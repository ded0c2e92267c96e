"""Importing ART without the traces that this leaves.

ART 1.18 to 1.20 write ``~/.art/config.json`` when they are imported and call
``logging.config.dictConfig``, which closes the handlers of whoever set up logging before. Here the
first is written to a folder that is gone afterwards, and the second does not happen.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from labelattack.errors import LabelAttackError
from labelattack.files.storage import cache_folder, expanded, is_file


def import_art() -> None:
    """Imports ART, unless somebody has; the home folder and logging stay as they are.

    Who has ART's configuration file keeps it. Otherwise ART's data go to the environment's
    ART_DATA_PATH, or else below this package's cache folder, once there are any.

    Raises:
        LabelAttackError: If ART is not installed, or another package has its name.
    """
    if "art" in sys.modules:
        return
    config = _config_file()
    if not is_file(expanded("~/.art/config.json")):
        _run_elsewhere(config)
    with patch("logging.config.dictConfig"):
        import art
    art.config = sys.modules["art.config"]
    # What ART's configuration would have come to: silence, unless the root logger wants to hear.
    logging.getLogger("art").addHandler(logging.NullHandler())


def _config_file() -> Path:
    """ART's module of settings."""
    found = importlib.util.find_spec("art")
    places = list(found.submodule_search_locations or ()) if found else []
    config = Path(*places[:1], "config.py")
    if not places or not config.is_file():
        there = f"another package of that name in '{places[0]}'" if places else "nothing"
        raise LabelAttackError(
            "package art must be that of adversarial-robustness-toolbox, which evasion attacks "
            f"need, got {there}"
        )
    return config


def _run_elsewhere(config: Path) -> None:
    """Runs the module of settings alone, with another home folder for as long as that takes."""
    spec = importlib.util.spec_from_file_location("art.config", config)
    assert spec is not None and spec.loader is not None  # it is a Python file
    module = importlib.util.module_from_spec(spec)
    with (
        TemporaryDirectory() as home,
        patch.dict(os.environ, {"HOME": home, "USERPROFILE": home}),
    ):
        spec.loader.exec_module(module)
    place = os.environ.get("ART_DATA_PATH", str(cache_folder() / "art"))
    vars(module)["ART_DATA_PATH"] = place
    sys.modules["art.config"] = module
