"""Mutation operators: deletions in the last stage. See ``labelattack list mutations``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.mutations.base import MutationOperator

registry: Registry[MutationOperator] = Registry("mutation", __name__, group="labelattack.mutations")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
