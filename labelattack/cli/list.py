"""The list command."""

from __future__ import annotations

import json
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


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="attacks, defenses, datasets, models, mutations; default: all."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Lists what is registered, with parameters, defaults and sources."""
    from labelattack import attacks, datasets, defenses, models, mutations

    load_plugins(plugin)
    kinds: dict[str, Registry[Any]] = {
        "attacks": attacks.registry,
        "defenses": defenses.registry,
        "datasets": datasets.registry,
        "models": models.registry,
        "mutations": mutations.registry,
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
