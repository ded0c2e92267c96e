"""Label-removal attacks. One file each; see ``labelattack list attacks``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.attacks.base import Attack

registry: Registry[Attack] = Registry("attack", __name__, group="labelattack.attacks")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
