"""Datasets: images with clean multi-label annotations. One file each; see ``labelattack list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.datasets.base import Dataset

registry: Registry[Dataset] = Registry("dataset", __name__, group="labelattack.datasets")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)
