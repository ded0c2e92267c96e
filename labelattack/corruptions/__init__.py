"""Common corruptions of images. One file each; see ``labelattack list corruptions``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry

if TYPE_CHECKING:
    from labelattack.corruptions.base import Corruption

registry: Registry[Corruption] = Registry("corruption", __name__, group="labelattack.corruptions")
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)

# The order in which records hold them.
STANDARD = (
    "gaussian-noise", "gaussian-blur", "contrast", "jpeg", "translation", "rescaling",
)  # fmt: skip
"""The corruptions that the measure of corruption averages unless it is told otherwise."""
