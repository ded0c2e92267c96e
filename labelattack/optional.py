"""Optional dependencies: libraries that only some commands need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from labelattack.errors import LabelAttackError


def require(module: str, extra: str) -> Any:
    """Imports a module of an optional dependency.

    Args:
        module: Dotted name.
        extra: Extra of this package that installs it.

    Raises:
        LabelAttackError: If it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise LabelAttackError(
            f"this needs {module}, which is not installed: pip install 'labelattack[{extra}]'"
        ) from error
