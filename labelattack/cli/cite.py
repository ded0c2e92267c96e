"""The cite command."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._completion import names_of
from labelattack.cli._console import Plugins, load_plugins, say, stored_records
from labelattack.cli.list import KINDS

if TYPE_CHECKING:
    from labelattack.registry.registry import Registry


def cite(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|STORE]...",
            help="Components, such as role or voc:year=2007, and stores: what ran in them. "
            "Default: labelattack and its paper.",
            autocompletion=names_of(*KINDS),
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Prints BibTeX for attacks, losses, data sets, models, measures, or all that a store ran.

    For example: `labelattack cite an role voc:year=2007 > references.bib`
    """
    from labelattack.registry.references import SOFTWARE, bibliography

    load_plugins(plugin)
    entries: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    found, stores = _named(what or [])
    for registry, name in found:
        for key, entry in _references(registry, name).items():
            entries[key] = entry
            reasons.setdefault(key, []).append(f"{registry.kind} '{name}'")
    for key in (SOFTWARE, "zhang2024") if stores or not what else ():
        entries.setdefault(key, bibliography()[key])
        reasons.setdefault(key, ["labelattack"])
    told = {key: ", ".join(dict.fromkeys(names)) for key, names in reasons.items()}
    typer.echo("\n\n".join(f"% {told[key]}\n{entry}" for key, entry in entries.items()))


def _references(registry: Registry[Any], name: str) -> dict[str, str]:
    from labelattack.registry.references import references_of

    title = f"{registry.kind} '{name}'"
    if name not in registry.names():
        say(f"note: {title} is of a plug-in; --plugin FILE.py adds what it cites")
        return {}
    found = references_of(registry, name)
    if not found:
        told = registry.text_constant(name, "source")
        say(f"note: {title} has no reference{f': {told}' if told else ''}")
    return found


def _named(texts: list[str]) -> tuple[list[tuple[Registry[Any], str]], bool]:
    """Registry and name of all that is named or that a named store ran; whether a store is.

    Raises:
        UnknownNameError: If a text is neither a component nor a folder.
        StoreError: If a folder is no store.
    """
    from labelattack.attacks.sets import WORST_OF, expanded
    from labelattack.benchmark.store.components import components_of
    from labelattack.errors import unknown
    from labelattack.registry.spec import Spec

    registries = {kind: import_module(package).registry for kind, package in KINDS.items()}
    known = {name: each for each in registries.values() for name in each.names()}
    found: list[tuple[Registry[Any], str]] = []
    stores = [text for text in texts if Path(text).is_dir() and text not in known]
    for text in texts:
        if text in stores:
            for kind, names in components_of(stored_records(Path(text))).items():
                found += [(registries[kind], name) for name in names]
            continue
        for name in (Spec.parse(each).name for each in expanded([text])[0]):
            if name not in known:
                raise unknown("component or store", name, [*known, WORST_OF])
            found.append((known[name], name))
    return found, bool(stores)
