"""Classes of components as attributes of their package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from labelattack.errors import unknown
from labelattack.registry.registry import Registry


def class_access(
    registry: Registry[Any],
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Functions ``__getattr__`` and ``__dir__`` of a registry's package.

    With them ``from labelattack.attacks import TargetedAttack`` works: a class is found in the
    sources, and its file imported, when it is first asked for. So the package stays light and a new
    component edits nothing. Type checkers cannot see which classes there are, and take each for
    ``Any``; who wants types imports from the file, ``labelattack.attacks.targeted``.

    Args:
        registry: Registry whose built-in components they give.
    """
    package = registry.package

    def attribute(name: str) -> Any:
        # A module that is imported from the package is asked for as an attribute first, and
        # inspection asks for names such as __wrapped__: neither need read the sources.
        if name.startswith("_") or find_spec(f"{package}.{name}"):
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        homes = registry.class_homes()
        if name not in homes:
            hint = str(unknown(registry.kind, name, homes)).partition("; ")[2]
            raise AttributeError(f"module '{package}' has no attribute '{name}'; {hint}")
        return getattr(import_module(homes[name]), name)

    def attributes() -> list[str]:
        return sorted({*vars(sys.modules[package]), *registry.class_homes()})

    return attribute, attributes
