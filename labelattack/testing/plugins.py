"""Checks of every component of a plug-in file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from labelattack.errors import LabelAttackError, PluginError, printable, unknown
from labelattack.registry.plugins import load_plugin
from labelattack.registry.spec import Spec
from labelattack.testing.check import Check, Kind, check_of, require


@cache
def kinds() -> list[Kind]:
    """Every kind that has checks: the ``KIND`` of each module of this folder, by file name."""
    package = __name__.rpartition(".")[0]
    names = sorted(module.name for module in iter_modules([str(Path(__file__).parent)]))
    modules = [import_module(f"{package}.{name}") for name in names if name != "__main__"]
    return [module.KIND for module in modules if hasattr(module, "KIND")]


def check_plugin(path: str, specs: Sequence[str] = ()) -> list[Check]:
    """Loads a file and returns the checks of every component in it.

    Args:
        path: The file.
        specs: Specs to check components of the file by, such as that of a dataset that must be
            told where it lies; others are checked by their name alone.

    Raises:
        PluginError: If it cannot be loaded or registers nothing.
        UnknownNameError: If a spec names something else.
    """
    before = [set(kind.registry.names()) for kind in kinds()]
    load_plugin(path)
    wanted = {Spec.parse(spec).name: spec for spec in specs}
    found: dict[str, list[Check]] = {}
    for kind, known in zip(kinds(), before, strict=True):
        for name in sorted(set(kind.registry.names()) - known):
            found.setdefault(name, []).extend(_checks_of(kind, wanted.get(name, name)))
    if not found:
        *others, last = (kind.registry.kind for kind in kinds())
        raise PluginError(
            f"plug-in '{path}' must register one of {', '.join(others)} or {last}, got none"
        )
    for name in wanted:
        if name not in found:
            raise unknown(f"component of '{path}'", name, found)
    return [check for of_one in found.values() for check in of_one]


def _checks_of(kind: Kind, spec: str) -> list[Check]:
    """The checks of a component, or one that says why it cannot be built."""
    cls: Any = kind.registry.get(Spec.parse(spec).name)
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    try:
        require(not missing, f"{cls.__name__} must define {', '.join(missing)}")
        kind.registry.resolve(spec)
    except LabelAttackError as error:
        hint = f"; give its spec after the file: {Spec.parse(spec).name}:key=value"
        reason = f"{error}{'' if missing else hint}"

        def can_be_built(spec: str) -> None:
            raise PluginError(reason)

        return [check_of(spec, can_be_built)]
    return list(kind.checks(spec))


def check_files(arguments: Sequence[str]) -> int:
    """Checks files, each followed by specs, and prints a line a check.

    Returns:
        1 if a check failed, else 0.

    Raises:
        PluginError: If no file is named, or one cannot be loaded.
    """
    files: dict[str, list[str]] = {}
    for argument in arguments:
        if argument.endswith(".py") or not files:
            files[argument] = []
        else:
            files[next(reversed(files))].append(argument)
    if not files:
        raise PluginError("plug-in must be a Python file, got none; give one, and specs after it")
    told: set[tuple[str, str]] = set()
    for path, specs in files.items():
        for check in check_plugin(path, specs):
            reason = _fault(check)
            if not reason:
                _write(f"ok      {check}")
                continue
            # A dataset that cannot be loaded breaks several rules for one reason.
            said = check.name.partition(": ")[0], reason
            _write(f"BROKEN  {check}: {'as above' if said in told else reason}")
            told.add(said)
    return 1 if told else 0


def _fault(check: Check) -> str:
    """Reason why a check fails; empty if it does not."""
    try:
        check()
    except PluginError as error:
        return str(error).removeprefix(f"{check}: ")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _write(text: str) -> None:
    sys.stdout.write(f"{printable(text)}\n")
