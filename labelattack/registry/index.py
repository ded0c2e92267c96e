"""Declarations of components, read from their source without importing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import griffe

from labelattack.errors import PluginError
from labelattack.registry.spec import as_text, as_word, unquoted


@dataclass(frozen=True)
class Parameter:
    """A declared parameter: name, type and default as written, and its documentation."""

    name: str
    type: str
    default: str
    doc: str


@dataclass(frozen=True)
class Declaration:
    """Declaration of a component, read from its source without importing it."""

    name: str
    origin: str
    summary: str
    source: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class SourceIndex:
    """Classes of a set of files, by registered name and by class name."""

    modules: dict[str, str] = field(default_factory=dict)
    registered: dict[str, griffe.Class] = field(default_factory=dict)
    classes: dict[str, griffe.Class] = field(default_factory=dict)
    unparsed: dict[Path, tuple[str, str]] = field(default_factory=dict)

    def add_package_file(self, module: str, path: Path) -> None:
        """Adds the classes of a file: at once if it registers any, else when one is looked for.

        Files that register nothing are half of the source, and most are never looked for.

        Raises:
            PluginError: If a name is registered twice.
        """
        text = path.read_text(encoding="utf-8")
        if "register(" in text:
            self.add_file(module, path, text)
        else:
            self.unparsed[path] = module, text

    def add_file(self, module: str, path: Path, text: str) -> None:
        """Adds the classes of a file.

        Raises:
            PluginError: If a name is registered twice.
            SyntaxError: If it is not Python.
        """
        for cls in griffe.visit(module, path, text).classes.values():
            self.classes[cls.name] = cls
            for name in filter(None, map(_registered_name, cls.decorators)):
                if name in self.modules:
                    raise PluginError(
                        f"'{name}' is registered twice: in {self.modules[name]} and {module}"
                    )
                self.modules[name] = module
                self.registered[name] = cls

    def declaration(self, name: str, origin: str) -> Declaration:
        """Declaration of a registered class.

        Args:
            name: Registered name.
            origin: ``built-in`` or ``plug-in``.
        """
        cls = self.registered[name]
        summary = cls.docstring.value.partition("\n")[0] if cls.docstring else ""
        source, parameters = self._text(cls, "source"), tuple(self._parameters(cls).values())
        return Declaration(name, origin, summary, source, parameters)

    def class_homes(self) -> dict[str, str]:
        """Module of each registered class, by its name."""
        return {cls.name: self.modules[name] for name, cls in self.registered.items()}

    def text_constant(self, name: str, attribute: str) -> str:
        """Text that a registered class has as an attribute; empty if there is none of either."""
        return self._text(self.registered[name], attribute) if name in self.registered else ""

    def _text(self, cls: griffe.Class, attribute: str) -> str:
        found = cls.members.get(attribute)
        if isinstance(found, griffe.Attribute):
            return unquoted(str(found.value))
        return next(filter(None, (self._text(base, attribute) for base in self._bases(cls))), "")

    def _bases(self, cls: griffe.Class) -> list[griffe.Class]:
        names = (str(base).rpartition(".")[2].partition("[")[0] for base in cls.bases)
        return [base for name in names if (base := self.find(name)) is not None]

    def find(self, name: str) -> griffe.Class | None:
        """Class of a name at the top level of a file; None if there is none."""
        if name not in self.classes:
            for path, (module, text) in list(self.unparsed.items()):
                if f"class {name}" in text:
                    del self.unparsed[path]
                    self.add_file(module, path, text)
        return self.classes.get(name)

    def _parameters(self, cls: griffe.Class) -> dict[str, Parameter]:
        parameters: dict[str, Parameter] = {}
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            pairs = [
                (p.name, p.annotation, p.default)
                for p in init.parameters
                if p.kind is griffe.ParameterKind.keyword_only
            ]
        else:
            for base in self._bases(cls):
                parameters |= self._parameters(base)
            pairs = [
                (a.name, a.annotation, a.value)
                for a in cls.attributes.values()
                if a.annotation
                and "instance-attribute" in a.labels
                and a.is_public
                and not str(a.annotation).rpartition(".")[2].startswith("ClassVar")
            ]
        docs = _argument_docs(cls)
        for name, annotation, default in pairs:
            value = "required" if default is None else as_text(as_word(unquoted(str(default))))
            parameters[name] = Parameter(name, str(annotation), value, docs.get(name, ""))
        return parameters


def _registered_name(decorator: griffe.Decorator) -> str | None:
    call, _, argument = str(decorator.value).partition("(")
    return unquoted(argument.rstrip(")")) if call.rpartition(".")[2] == "register" else None


def _argument_docs(cls: griffe.Class) -> dict[str, str]:
    if cls.docstring is None:
        return {}
    sections = griffe.parse_google(cls.docstring, warnings=False)
    return {
        item.name: " ".join(item.description.split())
        for section in sections
        if isinstance(
            section, griffe.DocstringSectionParameters | griffe.DocstringSectionAttributes
        )
        for item in section.value
    }
