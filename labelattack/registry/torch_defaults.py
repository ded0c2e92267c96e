"""Global torch settings that plug-in code must not change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labelattack.errors import PluginError

_NAMES = ("default dtype", "default device", "gradient mode")


@contextmanager
def torch_defaults_kept(who: str) -> Iterator[None]:
    """Restores torch's default dtype, default device and gradient mode after the block.

    All training relies on them; a change breaks runs far from its origin.

    Args:
        who: Owner of the code in the block, for the message.

    Raises:
        PluginError: If the block changed one and ended without an exception.
    """
    before = _defaults()
    try:
        yield
    except BaseException:
        _restored(before)
        raise
    if changed := _restored(before):
        raise PluginError(f"{who} must leave torch's defaults alone, but changes {changed}")


def _defaults() -> tuple[Any, ...] | None:
    """Current settings; None if torch is not imported, so that they are its initial ones."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()


def _restored(before: tuple[Any, ...] | None) -> str:
    """Restores the settings; describes the differences, empty if there are none."""
    after = _defaults()
    if after is None or after == before:
        return ""
    torch: Any = sys.modules["torch"]
    before = before or (torch.float32, torch.device("cpu"), True)
    torch.set_default_dtype(before[0])
    if after[1] != before[1]:
        torch.set_default_device(None if before[1].type == "cpu" else before[1])
    torch.set_grad_enabled(before[2])
    return ", ".join(
        f"the {name} from {old} to {new}"
        for name, old, new in zip(_NAMES, before, after, strict=True)
        if old != new
    )
