"""Executors: where the tasks of a grid run. One file each; see ``labelattack list executors``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.benchmark.execution.executors.base import Executor

registry: Registry[Executor] = Registry("executor", __name__, group="labelattack.executors")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
