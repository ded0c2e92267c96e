"""Import of ART without its side effects.

On import, ART 1.18 to 1.20 write ``~/.art/config.json`` and call ``logging.config.dictConfig``,
which closes logging handlers that were set up before. Here the file goes to a temporary folder,
and the call is suppressed.
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
    """Imports ART unless it is imported already; home folder and logging stay as they are.

    An existing ART configuration file is used. Otherwise ART's data folder is the environment's
    ART_DATA_PATH, or else a folder below this package's cache folder, created when needed.

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
    # As ART's own configuration: silent, unless the root logger has handlers.
    logging.getLogger("art").addHandler(logging.NullHandler())


def _config_file() -> Path:
    """Path of ART's configuration module."""
    spec = importlib.util.find_spec("art")
    places = list(spec.submodule_search_locations or ()) if spec else []
    config = Path(*places[:1], "config.py")
    if not places or not config.is_file():
        there = f"another package of that name in '{places[0]}'" if places else "nothing"
        raise LabelAttackError(
            "package art must be that of adversarial-robustness-toolbox, which evasion attacks "
            f"need, got {there}"
        )
    return config


def _run_elsewhere(config: Path) -> None:
    """Runs the configuration module alone, with a temporary home folder."""
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
