"""Libraries that only some commands need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from labelattack.errors import LabelAttackError


def extra(module: str, name: str) -> Any:
    """Imports what an extra of this package brings.

    Raises:
        LabelAttackError: If it is not installed; says how.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise LabelAttackError(
            f"this needs {module}, which is not installed: pip install 'labelattack[{name}]'"
        ) from error
