"""Defenses: losses for partial labels. One file each; see ``labelattack list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.defenses.base import PartialLabelLoss

registry: Registry[PartialLabelLoss] = Registry("defense", __name__, group="labelattack.defenses")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
