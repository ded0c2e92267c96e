"""Publications behind components, as BibTeX.

A component says in its class attribute ``references`` what to cite: keys of the package's
``references.bib``, or BibTeX entries of its own, as a plug-in does. So a new component of a known
publication names its key, and one of another publication brings the entry in its own file.
"""

from __future__ import annotations

import re
from functools import cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from labelattack.errors import PluginError, unknown
from labelattack.registry.source import PACKAGE, file_of

if TYPE_CHECKING:
    from labelattack.registry.registry import Registry

SOFTWARE = PACKAGE
"""Key of this package in its bibliography."""
_ENTRY = re.compile(r"^@\w+\{\s*([^\s,{}]+)\s*,.*?^\}", re.MULTILINE | re.DOTALL)


@cache
def bibliography() -> dict[str, str]:
    """Entries of the package's ``references.bib`` by key, sorted."""
    return entries_of((file_of(PACKAGE).parent / "references.bib").read_text(encoding="utf-8"))


def entries_of(text: str) -> dict[str, str]:
    """BibTeX entries of a text by key; each begins a line and ends with a brace that does."""
    return {found[1]: found[0] for found in _ENTRY.finditer(dedent(text))}


def references_of(registry: Registry[Any], name: str) -> dict[str, str]:
    """BibTeX entries by key of what to cite for a component; empty if there is nothing.

    Args:
        registry: Of its kind.
        name: Its registered name. A plug-in is imported, a built-in component is not.

    Raises:
        UnknownNameError: If no component has that name, or no entry a key that it gives.
        PluginError: If the plug-in cannot be imported, or gives a text without an entry.
    """
    text = registry.text_constant(name, "references")
    if "@" in text or not registry.is_builtin(name):
        text = str(getattr(registry.get(name), "references", ""))
    if "@" in text:
        if found := entries_of(text):
            return found
        raise PluginError(
            f"references of {registry.kind} '{name}' must be BibTeX whose entries each end with a "
            "brace on a line of its own, got none"
        )
    known = bibliography()
    for key in text.split():
        if key not in known:
            raise unknown(f"reference of {registry.kind} '{name}':", key, known)
    return {key: known[key] for key in text.split()}
