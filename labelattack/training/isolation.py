"""Calls of other people's code, whose failure must cost one run and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelattack.errors import PluginError, StoreError
from labelattack.registry.torch_defaults import torch_defaults_kept


def attempt(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call, or the exception that it raises unless that concerns every run.

    Args:
        call: What to call; a call of ``exit`` in it counts as a failure.
        *arguments: What with.

    Raises:
        StoreError: If nothing can be stored any more.
        SystemExit: If this process is being ended, by a subclass of SystemExit.
    """
    try:
        with torch_defaults_kept("a plug-in"):
            return call(*arguments)
    except StoreError:
        raise
    except Exception as error:
        return error
    except SystemExit as error:
        if type(error) is not SystemExit:  # this process is being ended
            raise
        return PluginError(f"a plug-in must not end the program, but calls exit({error.code})")
