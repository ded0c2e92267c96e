"""The list command."""

from __future__ import annotations

import json
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
        typer.Argument(help=f"{', '.join(KINDS)}; default: all."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Lists what is registered, with parameters, defaults and sources."""
    load_plugins(plugin)
    kinds: dict[str, Registry[Any]] = {
        name: import_module(package).registry for name, package in KINDS.items()
    }
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    chosen = {k: r.declarations() for k, r in kinds.items() if kind in (None, k)}
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({k: [asdict(d) for d in ds] for k, ds in chosen.items()}, indent=1))
        return
    for name, declarations in chosen.items():
        _print_declarations(name, declarations, verbose=kind is not None)


def _print_declarations(name: str, declarations: list[Declaration], *, verbose: bool) -> None:
    rows = []
    for d in declarations:
        parameters = "\n".join(
            f"{p.name}={p.default}" + (f"  {p.doc}".replace("``", "'") if verbose and p.doc else "")
            for p in d.parameters
        )
        rows.append((d.name, d.summary, parameters or "-", d.source))
    print_table(name, (name.rstrip("s"), "what it does", "parameters", "source"), rows, lines=True)
