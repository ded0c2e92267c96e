"""Measures of trained networks: one file each; see ``labelattack list measures``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.measures.base import Derived, Measure

registry: Registry[Measure | Derived] = Registry("measure", __name__, group="labelattack.measures")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
