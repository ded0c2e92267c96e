"""Trackers: mirrors of records elsewhere. One file each; see ``labelattack list trackers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.benchmark.store.trackers.base import Tracker

registry: Registry[Tracker] = Registry("tracker", __name__, group="labelattack.trackers")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
