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
from labelattack.storage import cache_folder


def import_art() -> None:
    """Imports ART, unless somebody has; the home folder and logging stay as they are.

    Who has ART's configuration file keeps it. Otherwise ART's data go to the environment's
    ART_DATA_PATH, or else below this package's cache folder, once there are any.

    Raises:
        LabelAttackError: If ART is not installed.
    """
    if "art" in sys.modules:
        return
    if not Path("~/.art/config.json").expanduser().is_file():
        _import_config()
    with patch("logging.config.dictConfig"):
        import art
    art.config = sys.modules["art.config"]
    # What ART's configuration would have come to: silence, unless the root logger wants to hear.
    logging.getLogger("art").addHandler(logging.NullHandler())


def _import_config() -> None:
    """Runs ART's module of settings alone, with another home folder for as long as that takes."""
    found = importlib.util.find_spec("art")
    places = found.submodule_search_locations if found else None
    if not places:
        raise LabelAttackError(
            "evasion attacks need the package adversarial-robustness-toolbox, got none; install it"
        )
    spec = importlib.util.spec_from_file_location("art.config", Path(places[0]) / "config.py")
    if spec is None or spec.loader is None:
        raise LabelAttackError(f"the package art in '{places[0]}' must hold config.py, got none")
    module = importlib.util.module_from_spec(spec)
    with (
        TemporaryDirectory() as home,
        patch.dict(os.environ, {"HOME": home, "USERPROFILE": home}),
    ):
        spec.loader.exec_module(module)
    place = os.environ.get("ART_DATA_PATH", str(cache_folder() / "art"))
    vars(module)["ART_DATA_PATH"] = place
    sys.modules["art.config"] = module
