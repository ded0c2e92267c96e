"""Plug-in files: Python files that register components when they are run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from labelattack.errors import PluginError
from labelattack.files.storage import is_file
from labelattack.registry.registry import import_error, loading
from labelattack.registry.torch_defaults import torch_defaults_kept


def check_plugins(paths: Iterable[str | Path], *, named_by: str) -> None:
    """Checks that plug-in files are there, so that the error says who names them.

    Args:
        paths: The files.
        named_by: What names them, such as ``LABELATTACK_PLUGINS``.

    Raises:
        PluginError: If one is not there.
    """
    for path in paths:
        if not is_file(Path(path)):
            raise PluginError(f"{named_by} must be Python files, got '{path}', which is not there")


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Runs Python files that register components, in this order.

    Raises:
        PluginError: If one is absent or fails.
    """
    for path in paths:
        load_plugin(path)


def load_plugin(path: str | Path) -> None:
    """Runs a Python file that registers components.

    Args:
        path: The file.

    Raises:
        PluginError: If the file is absent or fails; the error names line and reason.
    """
    try:
        path = Path(path).resolve()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, with a zero in it, a link to itself
        there = False
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = f"labelattack_plugin_{Path(path).stem}_{mark}"
    if name in sys.modules:
        return
    if not there:
        raise PluginError(f"plug-in must be a Python file, got '{path}', which is not there")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plug-in must be a Python file, got '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with loading(), torch_defaults_kept(f"plug-in '{path}'"):
            spec.loader.exec_module(module)
    except PluginError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plug-in '{path}' failed: {import_error(error)}") from error
