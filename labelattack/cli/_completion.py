"""Names that a shell completes, found in the sources without importing what they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from labelattack.cli.list import KINDS

# The registry would parse each file: patterns suffice for names, and are ten times as fast.
_REGISTERED = re.compile(
    r"^@(?:\w+\.)*register\(\"(?P<name>[^\"]+)\"\)\n(?:@.*\n)*class \w+(?:\((?P<bases>.*)\))?:",
    re.MULTILINE,
)
_METRIC = re.compile(r"\bMetric\(\s*\"(\w+)\"")


def names_of(*kinds: str, more: tuple[str, ...] = ()) -> Callable[[str], list[str]]:
    """Completion of an argument that names components of some kinds, built-in or installed.

    Args:
        *kinds: Kinds in the plural, as ``labelattack list`` takes them.
        more: Further names.
    """

    def completed(incomplete: str) -> list[str]:
        found = {*more, *(name for kind in kinds for name in _names(kind))}
        return sorted(name for name in found if name.startswith(incomplete))

    return completed


def metric_names(incomplete: str) -> list[str]:
    """Completion of an argument that names a metric."""
    asked_for = (text for text in _sources("measures") if "(Derived)" not in text)
    found = {"map", *(name for text in asked_for for name in _METRIC.findall(text))}
    return sorted(name for name in found if name.startswith(incomplete))


def _names(kind: str) -> Iterator[str]:
    from importlib.metadata import entry_points

    for text in _sources(kind):
        for found in _REGISTERED.finditer(text):
            if found["bases"] != "Derived":  # taken of every run, never asked for
                yield found["name"]
    yield from (point.name for point in entry_points(group=f"labelattack.{kind}"))


def _sources(kind: str) -> Iterator[str]:
    from labelattack.registry.source import file_of

    for path in file_of(KINDS[kind]).parent.glob("*.py"):
        yield path.read_text(encoding="utf-8")
