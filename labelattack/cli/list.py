"""The list command."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._console import (
    AsJson,
    Plugins,
    load_plugins,
    print_table,
)
from labelattack.errors import unknown

if TYPE_CHECKING:
    from labelattack.registry.index import Declaration
    from labelattack.registry.registry import Registry


KINDS = {
    "attacks": "labelattack.attacks",
    "defenses": "labelattack.defenses",
    "datasets": "labelattack.datasets",
    "models": "labelattack.models",
    "mutations": "labelattack.mutations",
    "measures": "labelattack.measures",
    "protocols": "labelattack.training.protocols",
    "corruptions": "labelattack.corruptions",
    "executors": "labelattack.benchmark.execution.executors",
    "trackers": "labelattack.benchmark.store.trackers",
}
"""Packages that hold the registry of each kind of component."""


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(KINDS)}; default: all.",
            autocompletion=lambda incomplete: [k for k in KINDS if k.startswith(incomplete)],
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Lists what is registered, with parameters, defaults and sources.

    For example: `labelattack list defenses`
    """
    load_plugins(plugin)
    kinds: dict[str, Registry[Any]] = {
        name: import_module(package).registry for name, package in KINDS.items()
    }
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    chosen = {k: r for k, r in kinds.items() if kind in (None, k)}
    if as_json:
        from dataclasses import asdict

        listed = {
            k: [asdict(d) | _facts(k, r, d.name) for d in r.declarations()]
            for k, r in chosen.items()
        }
        typer.echo(json.dumps(listed, indent=1))
        return
    for name, registry in chosen.items():
        for title, declarations in _parts(name, registry).items():
            _print_declarations(title, name, registry, declarations, verbose=kind is not None)
        if name == "attacks":
            _print_sets()


def _print_sets() -> None:
    from labelattack.attacks.sets import SETS, WORST_OF

    rows = [(f"{WORST_OF}:set={name}", "\n".join(members)) for name, members in SETS.items()]
    print_table("sets of attacks, for a worst case", ("set", "attacks"), rows, lines=True)


def _facts(kind: str, registry: Registry[Any], name: str) -> dict[str, Any]:
    """Attributes of a component that are listed beside its parameters, by name."""
    if kind != "attacks":
        return {}
    needs = re.findall(r"\w+", registry.text_constant(name, "needs"))
    (declared,) = (d for d in registry.declarations() if d.name == name)
    rated = any(p.name == "rate" for p in declared.parameters)
    return {
        "rate_of": registry.text_constant(name, "rate_of") if rated else "",
        "needs": needs,
        "changes": registry.text_constant(name, "changes") == "True",
    }


def _parts(kind: str, registry: Registry[Any]) -> dict[str, list[Declaration]]:
    """Tables of a kind, by title: attacks that change labels have one of their own."""
    found: dict[str, list[Declaration]] = {kind: []}
    for declaration in registry.declarations():
        changes = _facts(kind, registry, declaration.name).get("changes", False)
        title = "attacks that change labels, on boards of their own" if changes else kind
        found.setdefault(title, []).append(declaration)
    return found


def _print_declarations(
    title: str,
    kind: str,
    registry: Registry[Any],
    declarations: list[Declaration],
    *,
    verbose: bool,
) -> None:
    rows = []
    for d in declarations:
        facts = _facts(kind, registry, d.name)
        told = [d.summary]
        told += [f"rate: share of the {facts['rate_of']}"] if facts.get("rate_of") else []
        told += [f"needs: {', '.join(facts['needs'])}"] if facts.get("needs") else []
        parameters = "\n".join(
            f"{p.name}={p.default}" + (f"  {p.doc}".replace("``", "'") if verbose and p.doc else "")
            for p in d.parameters
        )
        rows.append((d.name, "\n".join(told), parameters or "-", d.source))
    columns = (kind.rstrip("s"), "what it does", "parameters", "source")
    print_table(title, columns, rows, lines=True)
