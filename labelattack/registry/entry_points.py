"""Entry points by which installed plug-ins announce their components."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points

from labelattack.errors import PluginError


def announced(kind: str, group: str) -> dict[str, EntryPoint]:
    """Entry points of a group, by name.

    Args:
        kind: Kind of the components, in the singular, for messages.
        group: Group of the entry points.

    Raises:
        PluginError: If two plug-ins announce one name.
    """
    points: dict[str, EntryPoint] = {}
    for point in _installed(tuple(sys.path))(group=group):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"{kind} '{point.name}' is announced by two plug-ins: {other.value} and "
                f"{point.value}; uninstall one"
            )
    return points


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Callable[..., EntryPoints]:
    """Selects among the entry points on ``sys.path``; one look at them serves every kind."""
    return entry_points().select
