"""Models: image classifiers with a linear head. One file each; see ``labelattack list models``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.models.base import Model

registry: Registry[Model] = Registry("model", __name__, group="labelattack.models")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
