"""Values that a process keeps between calls, all dropped by one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")

_clear: list[Callable[[], None]] = []


class ProcessCache(Generic[V]):
    """The values of the last keys that were asked for.

    Args:
        size: How many values are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        on_forget(self._values.clear)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key, made if it is not kept."""
        if key not in self._values:
            self._values[key] = make()
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


def on_forget(clear: Callable[[], None]) -> None:
    """Registers a function that empties one more cache."""
    _clear.append(clear)


def forget() -> None:
    """Empties every cache: files of datasets and models may have changed since they were read."""
    for clear in _clear:
        clear()
